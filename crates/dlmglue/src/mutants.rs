//! Known mistakes, to be planted in cached locks: see [`dlm::mutants`].

dlm::mutants! {
    TokenNotRaised, 7, "an exclusive grant has the token of the one before";
    EpochNotCounted, 7, "a new epoch is the last one once more";
    ValueNotTakenOver, 7, "a grant leaves the value as this node knew it";
    ValueNotWritten, 7, "EX is given up without its value";
    GivenUpUnderUser, 3, "a level is given up while somebody uses it";
    NoticeLostInFlight, 9, "a notice that comes during a conversion is forgotten";
    NotLookedAgain, 4, "who gives up a level does not look whether somebody waits for it";
    NobodyWoken, 4, "who gets a level is not told";
    CancelFailsAll, 5, "a cancel that won fails those who came meanwhile";
}
