//! Servers with queues. Each endpoint is a datagram socket with a thread for each worker. The queue of the
//! socket in the kernel is first come, first served. A worker sleeps for a request's work.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::message::Message;

/// How often a thread checks whether it has to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// All endpoints of a service.
pub(super) struct Servers {
    pub(super) addresses: Vec<SocketAddr>,
    stopping: Arc<AtomicBool>,
    workers: Vec<JoinHandle<io::Result<()>>>,
}

impl Servers {
    /// Starts one server for each factor. A server takes the work of a request times its factor.
    pub(super) fn start(slower: &[u32], workers: usize) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut servers = Self { addresses: Vec::new(), stopping, workers: Vec::new() };
        for &slower in slower {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
            servers.addresses.push(socket.local_addr()?);
            for _ in 0..workers {
                let (socket, stopping) = (socket.try_clone()?, servers.stopping.clone());
                let worker = thread::Builder::new().stack_size(64 * 1024);
                let worker = worker.spawn(move || serve(&socket, slower, &stopping))?;
                servers.workers.push(worker);
            }
        }
        Ok(servers)
    }

    /// Ends them. Returns the error of any that failed.
    pub(super) fn stop(self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().map_err(|_| io::Error::other("a server panicked"))??;
        }
        Ok(())
    }
}

fn serve(socket: &UdpSocket, slower: u32, stopping: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; Message::BYTES];
    while !stopping.load(Ordering::Relaxed) {
        let (length, caller) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        if let Some(message) = Message::read(&buffer[..length]) {
            thread::sleep(message.work * slower);
            socket.send_to(&buffer, caller)?;
        }
    }
    Ok(())
}
