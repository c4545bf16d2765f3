//! The `bedrock-meter` binary: the allocator, then the command line.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bedrock_meter::cli::run()
}
