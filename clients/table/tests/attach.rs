//! Attaching to tables and counters by descriptor, as other processes do.
#![cfg(not(any(loom, miri)))]

use std::{
    fs::File,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
};

use pointsman_table::{
    AttachError, Capacity, Cell, Counters, EndpointRecord, Group, Outcome, Picker, Punched,
    Request, Structure, Sweep, Table, TableWriter, alias_rows, layout,
};
use rustix::{
    fs::{FallocateFlags, MemfdFlags},
    io::Errno,
    mm::{MapFlags, MprotectFlags, ProtFlags},
};

const CAPACITY: Capacity =
    Capacity { groups: 2, rows: 8, ring: 8, slots: 600, endpoints: 8, text: 256 };

fn structure(slots: &[u32]) -> Structure {
    let weights: Vec<_> = slots.iter().map(|slot| (*slot, 1.0)).collect();
    let record = |slot: &u32| EndpointRecord {
        zone: "zone-a".into(),
        labels: vec![("shard".into(), slot.to_string())],
        ..EndpointRecord::new(*slot, format!("10.0.0.{slot}:80").parse().unwrap())
    };
    Structure {
        groups: vec![Group { rows: slots.len() as u32, ..Group::default() }],
        rows: alias_rows(&weights),
        ring: vec![],
        endpoints: slots.iter().map(record).collect(),
    }
}

fn writer() -> TableWriter {
    let mut writer = TableWriter::create(CAPACITY, "table").unwrap();
    for slot in 1..=5 {
        writer.write_cell(slot, &Cell { slope: 1.0, ..Cell::default() });
    }
    writer.write_structure(&structure(&[1, 2, 3])).unwrap();
    writer.publish();
    writer
}

#[test]
fn a_client_picks_from_the_table_it_was_handed_and_the_agent_counts_it() {
    let mut writer = writer();
    let table = Table::from_fd(writer.reader_fd().unwrap()).unwrap();
    assert_eq!(table.capacity(), CAPACITY);
    let agents = Counters::create(CAPACITY.slots, 2, "counters").unwrap();
    let counters = Counters::from_fd(agents.fd().unwrap()).unwrap();
    let mut sweep = Sweep::new(agents, u32::MAX);
    let mut picker: Picker = Picker::new(table, counters, 1, None);
    let pick = picker.pick(&Request::default()).unwrap();
    assert_eq!(picker.endpoint(pick.slot).unwrap().zone.as_ref(), "zone-a");

    let mut sums = vec![0; CAPACITY.slots as usize];
    let visit = sweep.in_flight(&mut sums).unwrap();
    assert_eq!((visit.in_flight, visit.moved), (1, true));
    assert_eq!(sums[pick.slot as usize], 1);

    writer.write_structure(&structure(&[5])).unwrap();
    assert_eq!(picker.pick(&Request::default()).unwrap().slot, 5);
    assert_eq!(picker.generation(), 2);
    picker.end(5, 1, Outcome::Success, Some(100));
    assert_eq!(sweep.in_flight(&mut sums).unwrap().in_flight, 1);
}

#[test]
fn a_receiver_cannot_change_the_table() {
    let writer = writer();
    let file = writer.reader_fd().unwrap();
    let map = |protection| {
        // SAFETY: a new mapping overlaps nothing.
        unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED, &file, 0)
        }
    };
    assert_eq!(map(ProtFlags::READ | ProtFlags::WRITE), Err(Errno::ACCESS));
    let mapped = map(ProtFlags::READ).unwrap();
    // SAFETY: this test made the mapping, and nothing refers to it.
    let writable =
        unsafe { rustix::mm::mprotect(mapped, 4096, MprotectFlags::READ | MprotectFlags::WRITE) };
    assert_eq!(writable, Err(Errno::ACCESS));
    assert!(File::from(file).write_all(b"garbage").is_err());
}

/// Also with a writable descriptor, which a client with the agent's uid could open itself.
#[test]
fn the_seals_hold_against_a_writable_descriptor() {
    let writer = writer();
    let path = format!("/proc/self/fd/{}", writer.reader_fd().unwrap().as_raw_fd());
    // The permissions forbid this to everyone except root.
    let Ok(file) = File::options().read(true).write(true).open(path) else { return };
    let file = OwnedFd::from(file);
    // SAFETY: a new mapping overlaps nothing.
    let mapped = unsafe {
        let write = ProtFlags::READ | ProtFlags::WRITE;
        rustix::mm::mmap(std::ptr::null_mut(), 4096, write, MapFlags::SHARED, &file, 0)
    };
    assert_eq!(mapped, Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
    assert_eq!(rustix::io::write(&file, b"garbage"), Err(Errno::PERM));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(&file, punch, 0, 4096), Err(Errno::PERM));
}

#[test]
fn counters_keep_their_size_and_a_punched_hole_is_noticed() {
    let writer = writer();
    let counters = Counters::create(CAPACITY.slots, 2, "counters").unwrap();
    let file = counters.fd().unwrap();
    assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&file, 1 << 30), Err(Errno::PERM));

    let mut picker: Picker = Picker::new(writer.table(), counters.clone(), 1, None);
    let mut sweep = Sweep::new(counters, u32::MAX);
    let mut sums = vec![0; CAPACITY.slots as usize];
    picker.pick(&Request::default()).unwrap();
    assert_eq!(sweep.in_flight(&mut sums).unwrap().in_flight, 1);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // The first page of flow. Page 0 has not changed.
    rustix::fs::fallocate(&file, punch, 4096, 4096).unwrap();
    picker.pick(&Request::default()).unwrap();
    assert_eq!(sweep.in_flight(&mut sums), Err(Punched { shard: 0 }));
    rustix::fs::fallocate(&file, punch, 0, 4096).unwrap();
    assert_eq!(sweep.in_flight(&mut sums), Err(Punched { shard: 0 }));
}

#[test]
fn a_hole_in_a_later_page_is_noticed() {
    let counters = Counters::create(CAPACITY.slots, 1, "counters").unwrap();
    let file = counters.fd().unwrap();
    let mut picker: Picker = Picker::new(writer().table(), counters.clone(), 1, None);
    let mut sweep = Sweep::new(counters, u32::MAX);
    let mut sums = vec![0; CAPACITY.slots as usize];
    picker.start(599, 1);
    assert_eq!(sweep.in_flight(&mut sums).unwrap().in_flight, 1);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // The second page of flow: slots from 504 on.
    rustix::fs::fallocate(&file, punch, 2 * 4096, 4096).unwrap();
    picker.start(3, 1);
    assert_eq!(sweep.in_flight(&mut sums), Err(Punched { shard: 0 }));
}

#[test]
fn what_the_agent_publishes_beside_load_is_read_as_it_was_written() {
    let mut writer = writer();
    writer.set_period_us(1_500);
    writer.set_detach_after_us(30_000);
    writer.set_retry_budget(250);
    let table = Table::from_fd(writer.reader_fd().unwrap()).unwrap();
    let numbers = [table.period_us(), table.detach_after_us(), table.retry_budget()];
    assert_eq!(numbers, [1_500, 30_000, 250]);
    assert!(table.cell(CAPACITY.slots - 1).is_some() && table.cell(CAPACITY.slots).is_none());
}

#[test]
fn a_cell_that_no_picker_could_use_is_not_written() {
    let mut writer = writer();
    let before = writer.table().cell(0);
    let unsound = Cell { slope: f32::NAN, ..Cell::default() };
    for (slot, cell) in [(0, unsound), (CAPACITY.slots, Cell::default())] {
        let written = std::panic::AssertUnwindSafe(|| writer.write_cell(slot, &cell));
        let refused = std::panic::catch_unwind(written).is_err();
        assert_eq!(refused, cfg!(debug_assertions), "slot {slot}");
    }
    assert_eq!((writer.refused_cells(), writer.table().cell(0)), (2, before));
}

#[test]
fn what_is_no_sealed_table_is_refused() {
    let attach = |prepare: &dyn Fn(&File)| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("fake", flags).unwrap());
        prepare(&file);
        Table::from_fd(file.into()).map(|_| ()).unwrap_err()
    };
    let seal = |file: &File| {
        use rustix::fs::SealFlags;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(file, seals).unwrap();
    };
    let unsealed = attach(&|file| file.set_len(4096).unwrap());
    assert!(unsealed.to_string().contains("SHRINK"), "{unsealed}");
    assert!(matches!(attach(&seal), AttachError::Size { found: 0, expected: 192 }));
    let without_banks = attach(&|file| {
        file.set_len(188).unwrap();
        seal(file);
    });
    assert!(matches!(without_banks, AttachError::Size { found: 188, expected: 192 }));
    let garbage = attach(&|mut file| {
        file.write_all(&[7; 4096]).unwrap();
        seal(file);
    });
    assert!(matches!(garbage, AttachError::Magic { found: 0x0707_0707, .. }));
    let header = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let short: Vec<u8> = header(&[layout::MAGIC, layout::VERSION, 1, 1, 1, 1, 1, 1]);
    let short = attach(&|mut file| {
        file.write_all(&short).unwrap();
        file.set_len(4096).unwrap();
        seal(file);
    });
    assert!(matches!(short, AttachError::Size { found: 4096, .. }), "{short}");
    let newer: Vec<u8> = header(&[layout::MAGIC, layout::VERSION + 1]);
    let newer = attach(&|mut file| {
        file.write_all(&newer).unwrap();
        file.set_len(4096).unwrap();
        seal(file);
    });
    assert!(matches!(newer, AttachError::Version { found: 2, expected: 1 }));
    let not_a_file = attach_fd_of_a_pipe();
    assert!(matches!(not_a_file, AttachError::Io(_)), "{not_a_file}");
}

fn attach_fd_of_a_pipe() -> AttachError {
    let (reader, _writer) = std::io::pipe().unwrap();
    Table::from_fd(reader.into()).map(|_| ()).unwrap_err()
}

#[test]
fn counters_of_another_shape_are_refused() {
    let table = writer();
    let error = Counters::from_fd(table.reader_fd().unwrap()).map(|_| ()).unwrap_err();
    assert!(matches!(error, AttachError::Magic { .. }), "{error}");
}

#[test]
fn a_client_reads_where_to_go_when_the_agent_is_gone() {
    for address in ["10.96.0.7:80", "[2001:db8::7]:65535"] {
        let mut writer = writer();
        writer.set_last_resort(address.parse().unwrap());
        let table = Table::from_fd(writer.reader_fd().unwrap()).unwrap();
        assert_eq!(table.last_resort(), Some(address.parse().unwrap()));
    }
    let table = Table::from_fd(writer().reader_fd().unwrap()).unwrap();
    assert_eq!(table.last_resort(), None);
}

#[test]
fn an_image_is_a_table() {
    let writer = writer();
    let table = Table::from_image(&writer.image()).unwrap();
    let mut picker: Picker =
        Picker::new(table.clone(), Counters::on_heap(CAPACITY.slots, 1), 1, None);
    assert!(picker.pick(&Request::default()).is_some());
    assert_eq!(picker.structure(), &structure(&[1, 2, 3]));
    let image = writer.image();
    assert!(Table::from_image(&image[..image.len() - 4]).is_err());
    let short = Table::from_image(&image[..188]).map(drop).unwrap_err();
    assert!(matches!(short, AttachError::Size { found: 188, expected: 192 }), "{short}");
}
