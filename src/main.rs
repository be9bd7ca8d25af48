//! The program: everything is in the library.

/// Gives memory back, and does well with many small pieces of it, which the C libraries' own do not.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    graphgate::cli::main()
}
