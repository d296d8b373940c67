//! Checks whether the socket exists, is mounted correctly, and accepts this user.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use super::finding::Finding;

pub(super) fn check(path: &Path) -> Vec<Finding> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return vec![missing(path, &error)],
    };
    let shown = path.display();
    if !metadata.file_type().is_socket() {
        return vec![Finding::wrong(
            "socket",
            format!("{shown} is not a socket"),
            "set --socket or $POINTSMAN_SOCKET to the agent's socket; in a container, mount its \
             folder before anything creates a file in its place",
        )];
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o777);
    vec![
        Finding::good("socket", format!("{shown}, mode {mode:04o}, uid {uid}")),
        mount(&in_its_folder(path), &mounts),
        connection(path, uid, mode),
    ]
}

/// The path without links in its folder, as mounts are listed: `/var/run/x` is on the mount `/run`.
fn in_its_folder(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

fn missing(path: &Path, error: &std::io::Error) -> Finding {
    let shown = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => Finding::wrong(
            "socket",
            format!("uid {} may not enter the folder of {shown}", own_uid()),
            "give the folder the mode 0755, or 0750 and a group that callers are in",
        ),
        _ => Finding::wrong(
            "socket",
            format!("{shown}: {error}"),
            "start the agent on this node; in a container, mount the socket's folder; set another \
             path with --socket or $POINTSMAN_SOCKET",
        ),
    }
}

/// A mount of the file alone keeps the old socket when an agent renames a new one into place.
fn mount(path: &Path, mounts: &str) -> Finding {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let point = points
        .map(unescaped)
        .filter(|point| path.starts_with(point))
        .max_by_key(String::len)
        .unwrap_or_else(|| "/".to_owned());
    if Path::new(&point) == path {
        let folder = path.parent().unwrap_or(path).display();
        return Finding::wrong(
            "mount",
            "the socket's file is mounted without its folder, so it stays the old socket when the \
             agent restarts",
            format!("mount the folder {folder} instead"),
        );
    }
    Finding::good("mount", format!("its folder is on the mount {point}"))
}

/// The kernel writes a blank as \040.
fn unescaped(point: &str) -> String {
    let mut parts = point.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => text.push_str(part),
        }
    }
    text
}

fn connection(path: &Path, owner: u32, mode: u32) -> Finding {
    let own = own_uid();
    match UnixStream::connect(path) {
        Ok(_) => Finding::good("permission", format!("uid {own} may connect")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::wrong(
            "permission",
            format!(
                "uid {own} may not connect: the socket belongs to uid {owner}, mode {mode:04o}"
            ),
            "start the agent with --socket-mode 0666, or with 0660 and a --socket-group that this \
             user is in",
        ),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::wrong(
            "permission",
            "nobody listens on it",
            "its agent has ended: start an agent",
        ),
        Err(error) => Finding::wrong("permission", error.to_string(), "see what the agent logs"),
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::finding::Verdict;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw
31 30 0:26 / /run/point\\040man rw - tmpfs tmpfs rw
32 22 0:27 /agent.sock /var/agent.sock rw - tmpfs tmpfs rw
";

    #[test]
    fn a_socket_that_is_mounted_as_a_file_is_wrong() {
        let finding = mount(Path::new("/var/agent.sock"), MOUNTS);
        assert_eq!(finding.verdict, Verdict::Wrong);
        assert_eq!(finding.right, "mount the folder /var instead");
    }

    #[test]
    fn the_mount_of_its_folder_is_named() {
        let seen = |path: &str| mount(Path::new(path), MOUNTS).seen;
        assert_eq!(seen("/run/point man/agent.sock"), "its folder is on the mount /run/point man");
        assert_eq!(seen("/run/agent.sock"), "its folder is on the mount /run");
        assert_eq!(seen("/opt/agent.sock"), "its folder is on the mount /");
    }

    #[test]
    fn a_socket_is_looked_for_where_its_folder_really_is() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(in_its_folder(&real.join("link/agent.sock")), real.join("agent.sock"));
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(in_its_folder(Path::new("agent.sock")), here.join("agent.sock"));
        assert_eq!(in_its_folder(Path::new("src/../agent.sock")), here.join("agent.sock"));
    }

    #[test]
    fn what_is_no_socket_and_who_does_not_listen_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check(&file)[0].seen.ends_with("is not a socket"));
        let stale = folder.path().join("agent.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let findings = check(&stale);
        assert_eq!(findings[2].seen, "nobody listens on it");
        assert_eq!(check(&folder.path().join("none")).len(), 1);
    }
}
