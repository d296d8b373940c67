//! A network between an agent and its API server that can be cut.

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

/// What becomes of connections.
#[derive(Clone, Copy, PartialEq)]
enum LinkState {
    /// They are passed on.
    Open,
    /// They end, and new ones do at once.
    Cut,
    /// Nothing of them is passed on any more, and nobody says so.
    Hanging,
}

/// A way from agents to an API server.
pub struct Proxy {
    way: watch::Sender<LinkState>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// To what this kubeconfig leads to; and another one in this folder, which leads through it.
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
        // A test that waits for a line of a log holds its own thread up.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(accept(listener, &target, ways, &count));
        });
        let through = folder.join("through-proxy.kubeconfig");
        std::fs::write(&through, text.replace(server(&text), &address.to_string())).unwrap();
        (Self { way, accepted }, through)
    }

    /// Connections that were made so far, whatever became of them.
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
            // Where this thread had no turn for a while, what came after the change waits with it.
            biased;
            _ = ways.changed() => {}
            _ = copy_bidirectional(&mut near, &mut far) => {}
        }
        if *ways.borrow_and_update() == LinkState::Hanging {
            // Both ends are kept, and hear nothing of each other; for good, once it began.
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
