//! `bedrock-meter keys create`: a new key, shown this once.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::lines::Lines;
use super::registrar::Handed;
use super::{Desk, Place, When};
use crate::cli::output::printing;
use crate::domain::TenantId;
use crate::registry::{KeyKind, NewKey, PolicyDocument};

/// Issues a key to a team and prints what to set for which SDK; its secret is shown this once
///
/// A pair works with every AWS SDK, over HTTP too. A token goes where a bearer token is asked for:
/// `AWS_BEARER_TOKEN_BEDROCK` (TLS only with boto3), Claude Code, Anthropic and OpenAI clients.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bedrock-meter keys create --tenant research --name ci --expires 90d
  bedrock-meter keys create --tenant research --kind token --models 'us.anthropic.*' --output env
  bedrock-meter keys create --tenant search --application web --output k8s-secret | kubectl apply -f -")]
pub(super) struct CreateArgs {
    /// Who pays; a new name adds the tenant
    #[arg(long)]
    tenant: TenantId,
    /// A name for people, such as the pipeline that uses it
    #[arg(long)]
    name: Option<String>,
    /// A pair that signs, or a bearer token
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// When it stops working: in 30m, 24h or 90d, or a date [default: never]
    #[arg(long)]
    expires: Option<When>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    /// Access key id and secret: signs like an AWS key
    #[default]
    Pair,
    /// One text that is sent as a bearer token
    Token,
}

/// What a key may do. A list that is not given allows everything.
#[derive(Debug, Args)]
struct PolicyArgs {
    /// The application of its calls that name none
    #[arg(long)]
    application: Option<String>,
    /// The applications it may name
    #[arg(long, value_delimiter = ',')]
    applications: Vec<String>,
    /// Models it may use, such as 'us.anthropic.*'
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Geographies: in-region, global, us, eu, ...
    #[arg(long, value_delimiter = ',')]
    geographies: Vec<String>,
    /// Regions it may call
    #[arg(long, value_delimiter = ',')]
    regions: Vec<String>,
    /// Operations, such as Converse,ConverseStream
    #[arg(long, value_delimiter = ',')]
    operations: Vec<String>,
    /// Networks it may call from
    #[arg(long, value_delimiter = ',')]
    networks: Vec<String>,
    /// Only count what these lists would refuse
    #[arg(long)]
    observe: bool,
}

impl PolicyArgs {
    fn document(&self) -> PolicyDocument {
        PolicyDocument {
            applications: self.applications.clone(),
            default_application: self.application.clone(),
            models: self.models.clone(),
            geographies: self.geographies.clone(),
            regions: self.regions.clone(),
            operations: self.operations.clone(),
            networks: self.networks.clone(),
            mode: self.observe.then(|| "observe".to_owned()),
            ..PolicyDocument::default()
        }
    }
}

/// How a new key is shown.
#[derive(Debug, Args)]
pub(super) struct Shown {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// The URL that clients reach the proxy by [default: of the configuration]
    #[arg(long)]
    url: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// With the lines for each SDK
    #[default]
    Text,
    /// As environment variables
    Env,
    /// As a Kubernetes Secret
    K8sSecret,
    /// As JSON
    Json,
}

impl Shown {
    /// Prints a key that was just made.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn print(&self, handed: &Handed) -> anyhow::Result<ExitCode> {
        let url = self.url.as_ref().unwrap_or(&handed.endpoint_url);
        let lines = Lines::new(&handed.issued, url);
        let text = match self.output {
            Output::Text => lines.text(),
            Output::Env => lines.env(),
            Output::K8sSecret => lines.k8s_secret(),
            Output::Json => lines.json()?,
        };
        printing(|out| {
            out.write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Makes the key.
///
/// # Errors
/// When the policy does not fit, or the registry cannot be written.
pub(super) fn run(args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let new = NewKey {
        tenant: args.tenant.clone(),
        kind: match args.kind {
            Kind::Pair => KeyKind::Pair,
            Kind::Token => KeyKind::Token,
        },
        name: args.name.clone(),
        policy: args.policy.document(),
        expires_at: args.expires.map(|when| when.from(desk.now)),
    };
    let handed = desk.registrar.create(&new)?;
    args.shown.print(&handed)
}
