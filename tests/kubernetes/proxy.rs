//! A proxy between an agent and its API server, which can interrupt the connection.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the proxy does with connections.
#[derive(Clone, Copy, PartialEq)]
enum LinkState {
    /// It passes their bytes on.
    Open,
    /// It ends them, and ends new ones at once.
    Cut,
    /// It passes nothing on any more, and does not close them.
    Hanging,
}

/// A proxy between agents and their API server.
pub struct Proxy {
    way: watch::Sender<LinkState>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy to the server of this kubeconfig. Also writes a kubeconfig that leads through the
    /// proxy.
    pub fn before(kubeconfig: &Path, folder: &Path) -> (Self, PathBuf) {
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let target = server(&text).to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let way = watch::Sender::new(LinkState::Open);
        let ways = way.subscribe();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        // On a thread of its own, because a test that waits for a line of a log blocks its thread.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(accept(listener, &target, ways, &count));
        });
        let through = folder.join("through-proxy.kubeconfig");
        std::fs::write(&through, text.replace(server(&text), &address.to_string())).unwrap();
        (Self { way, accepted }, through)
    }

    /// All connections so far, including those that have ended.
    pub fn connections(&self) -> usize {
        self.accepted.load(Relaxed)
    }

    pub fn cut(&self) {
        self.way.send_replace(LinkState::Cut);
    }

    pub fn hang(&self) {
        self.way.send_replace(LinkState::Hanging);
    }

    pub fn mend(&self) {
        self.way.send_replace(LinkState::Open);
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: &str,
    mut ways: watch::Receiver<LinkState>,
    accepted: &AtomicUsize,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                accepted.fetch_add(1, Relaxed);
                tokio::spawn(pass(near, target.to_owned(), ways.clone()));
            }
            // The test is over.
            changed = ways.changed() => if changed.is_err() { return },
        }
    }
}

async fn pass(mut near: TcpStream, target: String, mut ways: watch::Receiver<LinkState>) {
    let way = *ways.borrow_and_update();
    if way == LinkState::Open
        && let Ok(mut far) = TcpStream::connect(target).await
    {
        tokio::select! {
            // The change comes first: bytes that arrive after it must not pass, even if this thread was
            // late.
            biased;
            _ = ways.changed() => {}
            _ = copy_bidirectional(&mut near, &mut far) => {}
        }
        if *ways.borrow_and_update() == LinkState::Hanging {
            // Keeps both ends open and passes nothing on. This does not end once it has begun.
            std::future::pending::<()>().await;
        }
    } else if way == LinkState::Hanging {
        std::future::pending::<()>().await;
    }
}

/// The address in `server: "https://127.0.0.1:6443"`.
fn server(kubeconfig: &str) -> &str {
    let rest = kubeconfig.split("https://").nth(1).unwrap();
    rest.split(['"', '\n', ' ', '}', ',']).next().unwrap()
}
