//! Real processes share one table: a writer that never pauses, callers that are killed at any moment, and
//! callers that misbehave.
#![cfg(not(any(loom, miri)))]
// The test decides how long it runs.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::HashSet,
    env,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pointsman_table::{
    Capacity, Cell, Counters, Differences, EndpointRecord, Group, Outcome, Picker, Punched, Random,
    Request, Structure, Sweep, Table, TableWriter, alias_rows,
};
use rustix::{
    fs::FallocateFlags,
    io::{Errno, FdFlags},
    mm::{MapFlags, MprotectFlags, ProtFlags},
};

const SLOTS: u32 = 700;
const CAPACITY: Capacity =
    Capacity { groups: 4, rows: 64, ring: 64, slots: SLOTS, endpoints: 64, text: 4096 };
const RUN_FOR: Duration = Duration::from_secs(6);
const CHILDREN: usize = 3;
const THREADS: usize = 2;
/// The most requests that a thread of a child process has open.
const OPEN: usize = 16;

/// The content of a generation. It follows from the number alone.
fn expected(generation: u32) -> Structure {
    let slots: Vec<u32> = (0..20).map(|i| (generation.wrapping_mul(7) + i * 13) % SLOTS).collect();
    let weights: Vec<_> = slots.iter().map(|slot| (*slot, f64::from(slot % 5) + 1.0)).collect();
    let record = |slot: &u32| EndpointRecord {
        zone: format!("zone-{}", generation % 3).into(),
        weight: (generation % 1000) as f32,
        incarnation: generation,
        labels: vec![("generation".into(), generation.to_string())],
        ..EndpointRecord::new(*slot, ([10, 0, 0, 1], *slot as u16).into())
    };
    let (near, far) = weights.split_at(12);
    let mut rows = alias_rows(near);
    rows.extend(alias_rows(far));
    let near = Group { threshold: 3 << 30, overflow: Some(1), spill_at: 4.0, ..Group::default() };
    Structure {
        groups: vec![
            Group { rows: 12, ..near },
            Group { first_row: 12, rows: 8, choices: 3, ..Group::default() },
        ],
        rows,
        ring: vec![],
        endpoints: slots.iter().map(record).collect(),
    }
}

/// A child process, and the agent's end of its counters.
struct Process {
    child: Child,
    sweep: Sweep,
}

impl Process {
    fn start(writer: &TableWriter, role: &str) -> Self {
        let counters = Counters::create(SLOTS, THREADS as u32, "counters").unwrap();
        let inherited = [writer.reader_fd().unwrap(), counters.fd().unwrap()];
        for file in &inherited {
            rustix::io::fcntl_setfd(file, FdFlags::empty()).unwrap();
        }
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_child_does_its_part", "--nocapture", "--test-threads", "1"])
            .env("STRESS_ROLE", role)
            .env("STRESS_TABLE", inherited[0].as_raw_fd().to_string())
            .env("STRESS_COUNTERS", inherited[1].as_raw_fd().to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, sweep: Sweep::new(counters, 1000) }
    }

    fn kill(mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }
}

#[test]
fn nothing_is_torn_and_the_dead_leave_nothing_behind() {
    let mut writer = TableWriter::create(CAPACITY, "table").unwrap();
    for slot in 0..SLOTS {
        writer.write_cell(slot, &Cell { slope: 1.0, ..Cell::default() });
    }
    writer.write_structure(&expected(1)).unwrap();
    writer.publish();
    let mut processes: Vec<_> = (0..CHILDREN).map(|_| Process::start(&writer, "pick")).collect();
    let mut random = Random::new(std::process::id());
    let (mut kills, mut ended, mut busiest) = (0, 0_u64, 0);
    let mut next_kill = Instant::now() + Duration::from_millis(500);
    let mut sums = vec![0; SLOTS as usize];
    let end = Instant::now() + RUN_FOR;
    while Instant::now() < end {
        let next = writer.table().generation() + 1;
        assert_eq!(writer.write_structure(&expected(next)), Ok(next));
        sums.fill(0);
        for process in &mut processes {
            let visit = process.sweep.in_flight(&mut sums).unwrap();
            let mut differences = Differences::new(SLOTS);
            process.sweep.differences(1_000, &mut differences).unwrap();
            let ends: u64 = differences.ended.iter().map(|count| u64::from(*count)).sum();
            // The sweep reads ends before starts, so requests that end in between still seem to be in
            // flight.
            let most = (THREADS * OPEN) as u64 + ends;
            assert!(visit.in_flight <= most, "{} of {most} in flight", visit.in_flight);
            busiest = busiest.max(visit.in_flight);
            ended += ends;
        }
        for slot in 0..SLOTS {
            let base = sums[slot as usize] as f32;
            let cell = Cell { base, slope: 1.0, ..Cell::default() };
            writer.write_cell(slot, &cell);
        }
        writer.publish();

        for process in &mut processes {
            let exited = process.child.try_wait().unwrap();
            assert!(exited.is_none(), "a child found something wrong: {exited:?}");
        }
        if Instant::now() > next_kill {
            let victim = random.draw() as usize % CHILDREN;
            let fresh = Process::start(&writer, "pick");
            let dead = std::mem::replace(&mut processes[victim], fresh);
            assert!(!dead.kill().success());
            kills += 1;
            next_kill = Instant::now() + Duration::from_millis(u64::from(random.draw() % 400));
        }
    }
    for process in processes {
        process.kill();
    }
    // Without a process nothing is in flight: the agent's sums of a process end with it.
    let generations = writer.table().generation();
    println!("{generations} generations, {ended} requests, {kills} kills, {busiest} at a time");
    assert!(generations > 100 && ended > 10_000 && kills > 5 && busiest > 0);
}

#[test]
fn a_process_that_erases_its_counters_is_found_out_and_harms_nobody() {
    let mut writer = TableWriter::create(CAPACITY, "table").unwrap();
    for slot in 0..SLOTS {
        writer.write_cell(slot, &Cell::default());
    }
    writer.write_structure(&expected(1)).unwrap();
    let mut honest = Process::start(&writer, "pick");
    let mut eraser = Process::start(&writer, "erase");
    let mut sums = vec![0; SLOTS as usize];
    let end = Instant::now() + Duration::from_secs(20);
    let found = loop {
        assert!(Instant::now() < end, "not found out");
        match eraser.sweep.in_flight(&mut sums) {
            Err(punched) => break punched,
            Ok(_) => thread::sleep(Duration::from_millis(1)),
        }
        assert!(honest.sweep.in_flight(&mut sums).is_ok());
    };
    assert!(matches!(found, Punched { shard: 0 }));
    assert!(honest.sweep.in_flight(&mut sums).is_ok());
    for process in [honest, eraser] {
        process.kill();
    }
}

#[test]
fn a_process_cannot_change_the_table_or_the_size_of_its_counters() {
    let writer = TableWriter::create(CAPACITY, "table").unwrap();
    let mut process = Process::start(&writer, "tamper");
    assert!(process.child.wait().unwrap().success());
}

/// This is not a test. The other tests run it as their child processes.
#[test]
fn a_child_does_its_part() {
    let Ok(role) = env::var("STRESS_ROLE") else { return };
    let file = |name: &str| {
        let number = env::var(name).unwrap().parse().unwrap();
        // SAFETY: the parent left this descriptor open for this process, and nothing else here uses it.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    let (table, counters) = (file("STRESS_TABLE"), file("STRESS_COUNTERS"));
    match role.as_str() {
        "pick" => pick_for_ever(table, counters),
        "erase" => erase(table, counters),
        "tamper" => tamper(&table, &counters),
        _ => unreachable!("no such role"),
    }
}

fn pick_for_ever(table: OwnedFd, counters: OwnedFd) {
    let table = Table::from_fd(table).unwrap();
    let counters = Counters::from_fd(counters).unwrap();
    thread::scope(|scope| {
        for seed in 0..THREADS as u32 {
            let (table, counters) = (Arc::clone(&table), Arc::clone(&counters));
            scope.spawn(move || {
                pick_and_check(Picker::new(table, counters, seed, None));
                // A wrong pick on one thread ends the process, and the parent notices that.
                std::process::exit(1);
            });
        }
    });
}

fn pick_and_check(mut picker: Picker) -> Option<()> {
    let mut open = Vec::new();
    let mut generation = 0;
    let mut members = HashSet::new();
    let mut random = Random::new(std::process::id());
    loop {
        let request = Request { cost: 1, key: None, exclude: &[] };
        let pick = picker.pick(&request)?;
        if picker.generation() != generation {
            assert!(picker.generation() > generation, "back in time");
            generation = picker.generation();
            assert_eq!(picker.structure(), &expected(generation), "torn");
            let rows = &picker.structure().rows;
            members = rows.iter().map(|row| row.slot).collect();
        }
        assert!(members.contains(&pick.slot), "{} in generation {generation}", pick.slot);
        let endpoint = picker.endpoint(pick.slot)?;
        assert_eq!(endpoint.incarnation, generation);
        open.push(pick);
        if open.len() == OPEN {
            let pick = open.swap_remove(random.draw() as usize % OPEN);
            picker.end(pick.slot, pick.cost, Outcome::Success, Some(random.draw() % 1000));
        }
    }
}

fn erase(table: OwnedFd, counters: OwnedFd) {
    let file = counters.try_clone().unwrap();
    let counters = Counters::from_fd(counters).unwrap();
    let mut picker: Picker = Picker::new(Table::from_fd(table).unwrap(), counters, 1, None);
    for _ in 0..1000 {
        picker.pick(&Request::default()).unwrap();
    }
    // So that the agent has time to see them.
    thread::sleep(Duration::from_millis(50));
    let size = rustix::fs::fstat(&file).unwrap().st_size as u64;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, size).unwrap();
    loop {
        picker.pick(&Request::default());
        thread::sleep(Duration::from_millis(1));
    }
}

fn tamper(table: &OwnedFd, counters: &OwnedFd) {
    let size = rustix::fs::fstat(table).unwrap().st_size as usize;
    let map = |protection, flags| {
        // SAFETY: a new mapping overlaps nothing.
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, protection, flags, table, 0) }
    };
    let write = ProtFlags::READ | ProtFlags::WRITE;
    let refused = [Errno::ACCESS, Errno::PERM];
    assert!(refused.contains(&map(write, MapFlags::SHARED).unwrap_err()));
    let mapped = map(ProtFlags::READ, MapFlags::SHARED).unwrap();
    // SAFETY: this process made the mapping, and nothing refers to it.
    let made_writable =
        unsafe { rustix::mm::mprotect(mapped, size, MprotectFlags::READ | MprotectFlags::WRITE) };
    assert!(refused.contains(&made_writable.unwrap_err()));
    assert_eq!(rustix::io::write(table, b"garbage"), Err(Errno::BADF));
    // ftruncate fails: with EINVAL for a read-only descriptor, and because of the seals for a writable
    // one.
    assert!(rustix::fs::ftruncate(table, 0).is_err());
    let path = format!("/proc/self/fd/{}", table.as_raw_fd());
    if let Ok(file) = std::fs::File::options().read(true).write(true).open(path) {
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::io::write(&file, b"garbage"), Err(Errno::PERM));
        // SAFETY: a new mapping overlaps nothing.
        let mapped = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size, write, MapFlags::SHARED, &file, 0)
        };
        assert_eq!(mapped, Err(Errno::PERM));
    }
    for size in [0, 1 << 30] {
        assert_eq!(rustix::fs::ftruncate(counters, size), Err(Errno::PERM));
    }
}
