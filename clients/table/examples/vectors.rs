//! Writes the conformance vectors: `cargo run -p pointsman-table --example vectors`.

#[path = "../tests/cases/mod.rs"]
mod cases;
#[path = "../tests/reference/mod.rs"]
mod reference;

use std::{fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors"].iter().collect();
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "json" || kind == "bin") {
            fs::remove_file(path)?;
        }
    }
    let files = cases::files();
    for (name, bytes) in &files {
        fs::write(folder.join(name), bytes)?;
    }
    println!("{} files in {}", files.len(), folder.display());
    Ok(())
}
