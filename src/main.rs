//! The `bedrock-meter` binary: the command line, and nothing else.

fn main() -> std::process::ExitCode {
    bedrock_meter::cli::run()
}
