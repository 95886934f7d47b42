//! Known mistakes, to be planted in the engines: see [`dlm::mutants`].

dlm::mutants! {
    NoticeLostBehindGrant, 9, "a lock whose grant is being told is not told that it is in the way";
    OneNotice, 9, "only the first lock in the way is told";
    PointlessNotice, 9, "a notice stands though the new mode is in nobody's way";
    ValueNotStored, 7, "a conversion does not store the value that came with it";
    GrantsBehindLowering, 6, "others are granted before a holder has heard that its mode is lower";
    CancelCompletesTwice, 5, "a cancel that lost to the grant completes once more when it is answered";
    LastWordsOfTheDead, 10, "a grant of a dead master counts";
    NoqueueConversionWaits, 12, "a conversion that asked not to wait is queued";
    ConversionNotRetried, 4, "a conversion that met a recovery or migration is not tried again";
    ConversionHalfBack, 6, "a cancelled conversion stays marked as one";
    OldConvertAnswer, 1, "the answer of a master that died meanwhile counts";
    ConvertingIgnored, 6, "a grant does not look at the locks that convert";
    CreateNotRetried, 4, "a new lock that met a recovery or migration is not tried again";
    NoqueueCreateWaits, 12, "a lock that asked not to wait is queued";
    CreatedTwice, 10, "a lock that a master before had created is created again";
    GrantsBeforeRecovery, 3, "what a dead node held is granted before its recovery";
    DeadKeepLocks, 3, "the locks of a dead node stay";
    DeadWritersValue, 7, "the value that a dead node was writing stays";
    DeadKeepReferences, 8, "a dead node keeps its references";
    UsersToldLate, 3, "recovery does not wait until users were told";
    MembersNotAwaited, 2, "recovery ends before every member has sent its locks";
    FinalizedWithoutWaking, 4, "who waited for a recovery is not woken at its end";
    StaleRecoveryMaster, 1, "a recovery master that died stays the master of the recovery";
    LocksBeforeUsers, 3, "a member sends its locks before its users were told";
    JoinForgetsUsers, 3, "recovery waits for no users after a join that was tried again";
    DroppedUnderUser, 12, "a resource goes while a lock on it waits for recovery";
    ReferenceNotCounted, 8, "an answer that says that a node knows the resource is not noted";
    ValueNotMigrated, 7, "a value does not move with its resource";
    MigrationNotAnnouncedLost, 8, "a migration that failed leaves the resource migrating";
    JoinsDuringRecovery, 11, "a node joins while a death waits to be recovered";
    JoinerSeesFewer, 11, "a node joins that does not see every member";
    JoinNotTakenBack, 11, "a join that was taken back keeps others out";
    RebirthUnseen, 11, "a node that was born again is not missed";
    RebirthInOneRegion, 11, "a node that was born again goes down in one region at a time";
    NoNegotiation, 14, "nobody asks whether the disk hangs for all";
    HastyNegotiation, 14, "a pass that has just begun counts as one that hangs";
    LateDeadline, 14, "a node goes on for as long as others wait before they miss it, and longer";
    TornBlocksCount, 13, "a block with a wrong checksum counts as a heartbeat";
    BothHalvesStay, 14, "of a split into halves both stay";
    MinorityStays, 14, "a minority stays";
    WaitingNotSent, 10, "messages that waited for a connection are not sent";
    LostCallsForgotten, 10, "what a lost connection has not answered never ends";
    NoKeepalive, 10, "a silent connection is not asked whether it lives";
}
