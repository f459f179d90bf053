//! Has the service built again when the page that it carries was.

fn main() {
    let page = "../target/page";
    // Cargo takes a folder that is missing for one that has changed, each time.
    if let Err(error) = std::fs::create_dir_all(page) {
        println!("cargo::warning=cannot make {page}: {error}");
    }
    println!("cargo::rerun-if-changed={page}");
}
