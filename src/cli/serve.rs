//! `bedrock-meter serve`: runs the proxy and the admin listener until told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::say;
use crate::app::Server;
use crate::config::{self, Problems, Settings};
use crate::identity::Mode;
use crate::telemetry::install_log;

/// Runs the proxy and the admin listener
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter serve --config config/bedrock-meter.toml")]
pub(super) struct ServeArgs {
    /// The configuration [default: built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The settings of a file, or every problem of it printed.
pub(super) fn settings(file: Option<&Path>) -> Result<Settings, ExitCode> {
    load(file).map_err(|problems| {
        say(&problems.to_string());
        ExitCode::from(BAD_CONFIGURATION)
    })
}

fn load(file: Option<&Path>) -> Result<Settings, Problems> {
    config::load(file, &|name| std::env::var(name).ok())
}

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = match settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    install_log(&settings.telemetry)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let greeting = Greeting::of(&settings);
        let mut server = Box::pin(Server::start(settings)).await?;
        let file = args.config.clone();
        server.follow(Arc::new(move || load(file.as_deref())))?;
        greeting.print(&server);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        say("stopping: calls in flight end first (a second Ctrl-C ends at once)");
        tokio::select! {
            stopped = server.stop() => drop(stopped?),
            _ = interrupt.recv() => {
                say("stopped at once: open calls are settled as estimates at the next start");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What people need to know when the proxy starts.
struct Greeting {
    /// Whether every caller proves who it is.
    proven: bool,
    tls: bool,
    admin_login: bool,
    power_loss: String,
}

impl Greeting {
    fn of(settings: &Settings) -> Self {
        let power_loss = match settings.ledger.power_loss_window() {
            None => "a loss of power loses nothing (durability = \"strict\")".to_owned(),
            Some(window) => format!(
                "a loss of power can lose the last {} ms; the death of the process loses nothing",
                window.as_millis()
            ),
        };
        Self {
            proven: settings.identity.mode == Mode::Proven,
            tls: settings.listener.tls.is_some(),
            admin_login: settings.admin.token.is_some()
                || !settings.admin.tokens.is_empty()
                || settings.admin.login.is_on(),
            power_loss,
        }
    }

    fn print(&self, server: &Server) {
        let scheme = if self.tls { "https" } else { "http" };
        let data = format!("{scheme}://{}", server.data_address);
        let recovered = server.recovered.settled;
        say(&format!("data listener {data}"));
        say(&format!("admin listener http://{}", server.admin_address));
        let replayed = server.replayed.entries;
        if replayed > 0 {
            say(&format!(
                "brought in {replayed} entries that an earlier process left in the spill"
            ));
        }
        if recovered > 0 {
            say(&format!(
                "settled {recovered} calls that an earlier process left open"
            ));
        }
        if self.proven {
            say("callers prove themselves; issue a key, and it says what to set for which SDK:");
            say("  bedrock-meter keys create --tenant TEAM (with --config as here)");
        } else {
            say("point your SDK here (TEAM and APP are names of yours):");
            say(&format!(
                "  AWS SDKs and CLI  export AWS_ENDPOINT_URL_BEDROCK_RUNTIME={data}/tenant/TEAM/application/APP"
            ));
            say(&format!(
                "  Claude Code       export CLAUDE_CODE_USE_BEDROCK=1 ANTHROPIC_BEDROCK_BASE_URL={data}/tenant/TEAM/application/claude-code"
            ));
            say("not protected: callers of the trusted networks are believed, not proven");
        }
        if self.proven && !self.tls {
            say("not protected: without TLS, tokens can be read and requests recorded on the way");
        }
        if !self.admin_login {
            say("not protected: the admin listener has no token and no login");
        }
        say(&format!("durability: {}", self.power_loss));
    }
}

/// The exit code for a configuration that is refused (`EX_CONFIG` of sysexits.h).
pub(super) const BAD_CONFIGURATION: u8 = 78;
