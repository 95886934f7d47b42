//! What is read from disks and files.

use std::io;

use stackglue_o2cb::Settings;
use stackglue_o2cb::cluster_conf::ClusterConf;
use stackglue_o2cb::heartbeat::{Block, BlockSize};
use stackglue_o2cb::volume::{ReadAt, SlotMap, Volume};

use crate::driver::Target;
use crate::image::{self, BLOCK_SIZE, BLOCKS, Image};
use crate::mutate::{change, mutated, pick};
use crate::rng::Rng;

#[test]
fn heartbeats() {
    let regions: [&[u8]; 4] = [
        include_bytes!("../fixtures/hb-two-alive.bin"),
        include_bytes!("../fixtures/hb-one-left.bin"),
        include_bytes!("../fixtures/hb-three-alive.bin"),
        include_bytes!("../fixtures/hb-one-dead.bin"),
    ];
    let blocks = regions.iter().flat_map(|region| region.chunks(512));
    let mut corpus: Vec<Vec<u8>> = blocks.map(<[u8]>::to_vec).collect();
    corpus.push(corpus[0].iter().copied().chain([0; 3584]).collect());
    Target {
        name: "heartbeats",
        inputs: 10_000,
        make: &|rng| {
            let mut block = mutated(rng, &corpus, 8192);
            if rng.chance(70) {
                // Only what has the length of a block is looked at.
                block.resize(512 << rng.below(4), 0);
            }
            block
        },
        check: &|input| {
            let unchecked = Block::decode_unchecked(input);
            let size = u32::try_from(input.len()).ok().and_then(BlockSize::new);
            assert_eq!(unchecked.is_ok(), size.is_some());
            let (Ok(block), Some(size)) = (Block::decode(input), size) else { return };
            assert_eq!(unchecked, Ok(block));
            assert_eq!(Block::decode(&block.encode(size)), Ok(block));
        },
    }
    .run();
}

const CONFS: [&str; 4] = [
    "cluster:\n\tname = alpha\n\theartbeat_mode = local\n\tnode_count = 2\n\n\
     node:\n\tcluster = alpha\n\tnumber = 1\n\tip_port = 7777\n\tip_address = 10.0.0.1\n\tname = n1\n\n\
     node:\n\tcluster = alpha\n\tnumber = 2\n\tip_port = 7777\n\tip_address = 10.0.0.2\n\tname = n2\n\n",
    "cluster:\n\tname = beta\n\theartbeat_mode = global\n\tnode_count = 1\n\n\
     heartbeat:\n\tcluster = beta\n\tregion = 632A924FDD844190BDA93C0DF6B94899\n\n\
     node:\n\tcluster = beta\n\tnumber = 254\n\tip_port = 65534\n\tip_address = 1.2.3.4\n\tname = h.d\n\n",
    "# a comment\n\nnode:\n number=0\n cluster = c\n name = a\n ip_address = 127.0.0.1\n ip_port = 1\n\
     cluster:\n name = c\n node_count = 1\n",
    "cluster:\n\tname = a\n\nother:\n\tword = any thing = else\n\ncluster:\n\tname = b\n\tnode_count = 0\n",
];

#[test]
fn confs() {
    let corpus = CONFS.map(|text| text.as_bytes().to_vec());
    Target {
        name: "confs",
        inputs: 3000,
        make: &|rng| mutated(rng, &corpus, 20_000),
        check: &|input| {
            let examination = ClusterConf::examine(input);
            for error in &examination.errors {
                assert!(!error.to_string().is_empty() && error.line <= input.len() + 1);
            }
            for remark in &examination.remarks {
                assert!(!remark.to_string().is_empty());
            }
            match ClusterConf::parse(input) {
                Ok(conf) => {
                    assert_eq!(examination.errors.len(), 0);
                    assert_eq!(ClusterConf::parse(conf.to_text()), Ok(conf));
                }
                Err(error) => assert!(examination.errors.contains(&error), "{error}"),
            }
        },
    }
    .run();
}

#[test]
fn settings() {
    let corpus = [
        "# for boot\nO2CB_ENABLED=true\nO2CB_STACK=o2cb\nO2CB_BOOTCLUSTER=\"ocfs2\" # ours\n",
        "export O2CB_HEARTBEAT_THRESHOLD='61'\n O2CB_IDLE_TIMEOUT_MS=60000\nO2CB_KEEPALIVE_DELAY_MS=\n",
        "O2CB_RECONNECT_DELAY_MS=1\nO2CB_RECONNECT_DELAY_MS=3000\n. /etc/elsewhere\nOTHER=$(date)\n",
    ];
    let corpus = corpus.map(|text| text.as_bytes().to_vec());
    Target {
        name: "settings",
        inputs: 10_000,
        make: &|rng| mutated(rng, &corpus, 20_000),
        check: &|input| match Settings::parse(&String::from_utf8_lossy(input)) {
            Ok(settings) => {
                assert_eq!(settings.timeouts.check(), Ok(()));
                assert_eq!(settings.stack.len(), 4);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    }
    .run();
}

/// A byte that says which volume, then what is changed on it: block, offset, length, bytes.
#[test]
fn volumes() {
    let volumes = [Image::new(), in_trees(), in_blocks()].map(|image| image.0);
    Target {
        name: "volumes",
        inputs: 3000,
        make: &|rng| {
            let volume = rng.below(3) as u8;
            let mut input = vec![volume];
            for _ in 0..=rng.below(4) {
                patch(rng, &volumes[usize::from(volume)], &mut input);
            }
            input
        },
        check: &|input| {
            let Some((volume, patches)) = input.split_first() else { return };
            read_volume(&Patched { volume: &volumes[usize::from(*volume) % 3], patches });
        },
    }
    .run();
}

fn read_volume(device: &Patched<'_>) {
    // A device whose blocks can be anything is a volume, or a sentence.
    let text = |error: &dyn std::error::Error| assert!(!error.to_string().is_empty());
    let volume = match Volume::open(device) {
        Ok(volume) => volume,
        Err(error) => return text(&error),
    };
    let end = u64::from(volume.superblock().clusters) * u64::from(volume.superblock().cluster_size);
    for sector_size in [0, 512, 4096, 8192] {
        match volume.heartbeat_region(sector_size) {
            Ok(region) => {
                let len = u64::from(region.blocks) * u64::from(region.block_bytes);
                assert!(region.start_byte() > 0 && region.start_byte() + len <= end);
            }
            Err(error) => text(&error),
        }
    }
    match volume.slot_map() {
        Ok(map) => {
            assert_eq!(map.len(), volume.superblock().slots.into());
            for (slot, node) in map.taken() {
                assert_eq!(map.node(slot), Some(node));
            }
        }
        Err(error) => text(&error),
    }
}

/// A volume of files in trees of extents.
fn in_trees() -> Image {
    let mut image = Image::new();
    image.make_tree(image::SLOT_MAP, 280, image::SLOT_MAP_DATA as u64);
    image
}

/// A volume whose system directory has a block of its own.
fn in_blocks() -> Image {
    let mut image = Image::new();
    image.move_directory_to(281);
    image
}

/// A change where something is.
fn patch(rng: &mut Rng, volume: &[u8], input: &mut Vec<u8>) {
    let blocks = [
        image::SUPERBLOCK,
        image::SYSTEM_DIRECTORY,
        image::SLOT_MAP,
        image::HEARTBEAT,
        image::SLOT_MAP_DATA,
        280,
        281,
    ];
    let block = *pick(rng, &blocks);
    let at = match rng.below(3) {
        0 => rng.below(0x180),
        1 => 0xc0 + rng.below(0x60),
        _ => rng.below(BLOCK_SIZE as u64),
    } as usize;
    let from = block * BLOCK_SIZE + at;
    let mut bytes = volume[from..from + rng.below(32) as usize + 1].to_vec();
    let corpus = [bytes.clone()];
    change(rng, &mut bytes, &corpus);
    bytes.truncate(255);
    input.extend((block as u16).to_be_bytes());
    input.extend((at as u16).to_be_bytes());
    input.push(bytes.len() as u8);
    input.extend(bytes);
}

struct Patched<'a> {
    volume: &'a [u8],
    patches: &'a [u8],
}

impl ReadAt for Patched<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(buffer.len() <= 1 << 20, "a read of {} bytes", buffer.len());
        let from = usize::try_from(offset).map_err(|_| eof())?;
        let end = from.checked_add(buffer.len()).ok_or_else(eof)?;
        buffer.copy_from_slice(self.volume.get(from..end).ok_or_else(eof)?);
        let mut patches = self.patches;
        while let Some(([a, b, c, d, len], rest)) = patches.split_first_chunk::<5>() {
            let block = usize::from(u16::from_be_bytes([*a, *b])) % BLOCKS;
            let start = block * BLOCK_SIZE + usize::from(u16::from_be_bytes([*c, *d]));
            let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
            for (at, byte) in (start..).zip(bytes) {
                if (from..end).contains(&at) {
                    buffer[at - from] = *byte;
                }
            }
            patches = rest;
        }
        Ok(())
    }
}

/// Any bytes are a slot map, of as many slots as they have room for.
#[test]
fn slot_maps() {
    let corpus = [vec![1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0], vec![0xff; 8]];
    Target {
        name: "slot_maps",
        inputs: 5000,
        make: &|rng| mutated(rng, &corpus, 4096),
        check: &|input| {
            assert_eq!(SlotMap::decode(input, true).len(), input.len() / 8);
            assert_eq!(SlotMap::decode(input, false).len(), input.len() / 2);
        },
    }
    .run();
}
