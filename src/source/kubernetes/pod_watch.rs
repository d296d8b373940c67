//! When the watch of Pods begins: once it is known which labels Services name, and anew when they name
//! more. Labels that were not kept can only be had by a new list.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep_until},
};

use super::{facts::pod::WantedLabels, watch::Update};

/// The pause after a list. It doubles with each further one, and is the first again after a quiet time of
/// twice its length. All Pods of a large cluster are 600 MB, and who may write a Service can name new labels
/// all day; who names the first ones waits for one list.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Range 1 min to 1 h.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

struct PodWatch<F, R> {
    wanted: Receiver<Option<Arc<WantedLabels>>>,
    begin: F,
    running: Option<Updates<R>>,
    /// Takes the place of the running one with its first list. A list of a large cluster takes a while, in
    /// which new Pods must not go unseen.
    successor: Option<Updates<R>>,
    /// When it began.
    since: Instant,
    /// The least time until another begins.
    pause: Duration,
    /// When the next one begins.
    due: Option<Instant>,
}

type Updates<R> = BoxStream<'static, Update<R>>;

/// The updates of a watch that `begin` makes, which keeps these labels. None: they are not known yet. The
/// sender must outlive the stream.
pub(super) fn pod_watch<R: Send + 'static>(
    wanted: Receiver<Option<Arc<WantedLabels>>>,
    begin: impl Fn(Arc<WantedLabels>) -> Updates<R> + Send,
) -> impl Stream<Item = Update<R>> + Send {
    let (since, pause) = (Instant::now(), Duration::ZERO);
    let (running, successor) = (None, None);
    let watch = PodWatch { wanted, begin, running, successor, since, pause, due: None };
    stream::unfold(watch, |mut watch| async move {
        let update = watch.next().await;
        Some((update, watch))
    })
}

/// The next update; never, if there is no watch.
async fn next<R>(watch: &mut Option<Updates<R>>) -> Option<Update<R>> {
    match watch {
        Some(watch) => watch.next().await,
        None => pending().await,
    }
}

impl<R, F: Fn(Arc<WantedLabels>) -> Updates<R>> PodWatch<F, R> {
    async fn next(&mut self) -> Update<R> {
        loop {
            let due = async {
                match self.due {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // A watch never ends.
                Some(update) = next(&mut self.running) => return update,
                Some(update) = next(&mut self.successor) => {
                    if matches!(update, Update::Listed(_)) {
                        self.running = self.successor.take();
                    }
                    return update;
                }
                Ok(()) = self.wanted.changed() => {
                    self.due.get_or_insert((self.since + self.pause).max(Instant::now()));
                }
                () = due => {
                    self.due = None;
                    let wanted = self.wanted.borrow_and_update().clone();
                    if let Some(wanted) = wanted {
                        self.begins();
                        self.successor = Some((self.begin)(wanted));
                    }
                }
            }
        }
    }

    fn begins(&mut self) {
        let quiet = self.since.elapsed() > self.pause * 2;
        self.pause = match quiet {
            true => FIRST_PAUSE,
            false => (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{sync::watch, time::sleep};

    use super::*;

    fn wanted(keys: &[&str]) -> Option<Arc<WantedLabels>> {
        let keys = keys.iter().map(|key| Arc::from(*key)).collect();
        Some(Arc::new(WantedLabels([("shop".into(), keys)].into())))
    }

    /// The watches that began, each when and with how many labels.
    type Begun = Arc<Mutex<Vec<(Duration, usize)>>>;

    /// How long a list takes.
    const LIST: Duration = Duration::from_millis(300);
    /// The time between two changes: a change never comes at the moment of a list.
    const CHANGE: Duration = Duration::from_millis(900);

    /// The watches. Each lists the number of its labels, and then tells of it every [`CHANGE`].
    fn watches(
        receiver: Receiver<Option<Arc<WantedLabels>>>,
    ) -> (Begun, impl Stream<Item = Update<usize>> + Unpin) {
        let (start, begun) = (Instant::now(), Begun::default());
        let log = begun.clone();
        let updates = pod_watch(receiver, move |wanted: Arc<WantedLabels>| {
            let keys = wanted.0["shop"].len();
            log.lock().unwrap().push((start.elapsed(), keys));
            let list = stream::once(async move {
                sleep(LIST).await;
                Update::Listed(vec![keys])
            });
            let changes = stream::repeat(()).then(move |()| async move {
                sleep(CHANGE).await;
                Update::Applied(Box::new(keys))
            });
            list.chain(changes).boxed()
        });
        (begun, Box::pin(updates))
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits for the next list. Returns its labels, and the labels of the changes before it.
    async fn listed(
        updates: &mut (impl Stream<Item = Update<usize>> + Unpin),
    ) -> (usize, Vec<usize>) {
        let mut changes = Vec::new();
        loop {
            match updates.next().await.unwrap() {
                Update::Listed(labels) => return (labels[0], changes),
                Update::Applied(labels) => changes.push(*labels),
                update => panic!("{update:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_begins_when_the_labels_are_known_and_anew_when_there_are_more() {
        let (said, receiver) = watch::channel(None);
        let (begun, mut updates) = watches(receiver);
        let minute = SECOND * 60;
        assert!(tokio::time::timeout(minute, updates.next()).await.is_err());
        said.send_replace(wanted(&["a"]));
        assert_eq!(listed(&mut updates).await, (1, vec![]));
        said.send_replace(wanted(&["a", "b"]));
        // The old watch goes on until the new one has listed, and no longer.
        assert_eq!(listed(&mut updates).await, (2, vec![1]));
        assert!(matches!(updates.next().await, Some(Update::Applied(two)) if *two == 2));
        assert_eq!(*begun.lock().unwrap(), [(minute, 1), (minute + FIRST_PAUSE, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_names_new_labels_all_the_time_causes_a_list_every_ten_minutes() {
        let (said, receiver) = watch::channel(wanted(&["a"]));
        let (begun, mut updates) = watches(receiver);
        for _ in 0..14 {
            said.send_replace(wanted(&["a", "b"]));
            said.send_replace(wanted(&["a", "b", "c"]));
            assert_eq!(listed(&mut updates).await.0, 3, "labels that wait come together");
        }
        let began: Vec<u64> = begun.lock().unwrap().iter().map(|(at, _)| at.as_secs()).collect();
        let apart: Vec<u64> = began.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(apart, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
        // After a quiet time it begins at once.
        let quiet = async { while updates.next().await.is_some() {} };
        assert!(tokio::time::timeout(LONGEST_PAUSE * 3, quiet).await.is_err());
        let quiet = Instant::now();
        said.send_replace(wanted(&["a"]));
        listed(&mut updates).await;
        assert_eq!(quiet.elapsed(), LIST);
    }
}
