//! What to set where, once a key is issued: the exact lines for each SDK.

use std::fmt::Write as _;

use crate::registry::{HandedOut, Issued, KeyKind};

/// A new key and the URL that it is for.
pub(super) struct Lines<'a> {
    issued: &'a Issued,
    url: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(issued: &'a Issued, url: &'a str) -> Self {
        Self { issued, url }
    }

    fn is_token(&self) -> bool {
        self.issued.id.kind() == KeyKind::Token
    }

    /// The environment variables of the AWS SDKs.
    fn variables(&self) -> Vec<(&'static str, &str)> {
        let secret = self.issued.secret.as_str();
        let mut variables = vec![("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", self.url)];
        if self.is_token() {
            variables.push(("AWS_BEARER_TOKEN_BEDROCK", secret));
        } else {
            variables.push(("AWS_ACCESS_KEY_ID", self.issued.id.as_str()));
            variables.push(("AWS_SECRET_ACCESS_KEY", secret));
        }
        variables
    }

    pub(super) fn env(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.variables() {
            put(&mut text, &format!("{name}={value}"));
        }
        text
    }

    pub(super) fn k8s_secret(&self) -> String {
        let name = format!("bedrock-meter-{}", self.issued.id.as_str().to_lowercase());
        let mut text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\ntype: Opaque\nstringData:\n"
        );
        for (name, value) in self.variables() {
            put(&mut text, &format!("  {name}: \"{value}\""));
        }
        text
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        let value = serde_json::to_value(HandedOut::new(self.issued, self.url))?;
        Ok(format!("{value:#}\n"))
    }

    pub(super) fn text(&self) -> String {
        let Issued {
            id,
            tenant,
            expires_at,
            ..
        } = self.issued;
        let until = expires_at.map_or_else(|| "no end".to_owned(), |at| format!("until {at}"));
        let kind = if self.is_token() { "token" } else { "key pair" };
        let mut text = format!("{kind} {id} of tenant {tenant}, {until}\n");
        put(
            &mut text,
            "Its secret stands below this once and nowhere else.\n",
        );
        if self.is_token() {
            self.token_lines(&mut text);
        } else {
            self.pair_lines(&mut text);
        }
        text
    }

    fn pair_lines(&self, text: &mut String) {
        put(text, "AWS SDKs and the AWS CLI (environment):\n");
        for (name, value) in self.variables() {
            put(text, &format!("  export {name}={value}"));
        }
        put(
            text,
            "  unset AWS_SESSION_TOKEN AWS_PROFILE AWS_BEARER_TOKEN_BEDROCK\n",
        );
        put(text, ENDPOINT_VERSIONS);
        put(text, ALSO_S3);
        let Self { issued, url } = self;
        let (id, secret) = (issued.id.as_str(), issued.secret.as_str());
        put(text, "\nboto3, for this one client:\n");
        put(
            text,
            &format!(
                "  boto3.client(\"bedrock-runtime\", endpoint_url=\"{url}\",\n    aws_access_key_id=\"{id}\", aws_secret_access_key=\"{secret}\")"
            ),
        );
        put(text, "\nJavaScript:\n");
        put(
            text,
            &format!(
                "  new BedrockRuntimeClient({{ endpoint: \"{url}\",\n    credentials: {{ accessKeyId: \"{id}\", secretAccessKey: \"{secret}\" }} }})"
            ),
        );
        put(text, "\nJava 2.x:\n");
        put(
            text,
            &format!(
                "  BedrockRuntimeClient.builder().endpointOverride(URI.create(\"{url}\"))\n    .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create(\"{id}\", \"{secret}\")))"
            ),
        );
        put(text, "\nGo v2:\n");
        put(
            text,
            &format!(
                "  bedrockruntime.NewFromConfig(cfg, func(o *bedrockruntime.Options) {{ o.BaseEndpoint = aws.String(\"{url}\")\n    o.Credentials = credentials.NewStaticCredentialsProvider(\"{id}\", \"{secret}\", \"\") }})"
            ),
        );
        put(
            text,
            "\nAnthropic Python (TypeScript: baseURL, awsAccessKey, awsSecretKey):\n",
        );
        put(
            text,
            &format!(
                "  AnthropicBedrock(base_url=\"{url}\", aws_access_key=\"{id}\", aws_secret_key=\"{secret}\")"
            ),
        );
        put(text, "\nClaude Code: the variables above, and\n");
        put(
            text,
            &format!(
                "  export CLAUDE_CODE_USE_BEDROCK=1 AWS_REGION=us-east-1 ANTHROPIC_BEDROCK_BASE_URL={url}"
            ),
        );
    }

    fn token_lines(&self, text: &mut String) {
        put(text, "AWS SDKs and the AWS CLI (environment):\n");
        for (name, value) in self.variables() {
            put(text, &format!("  export {name}={value}"));
        }
        put(text, "");
        put(text, BEARER_VERSIONS);
        put(
            text,
            "The variable is read by Bedrock's clients alone: S3 and other services keep their credentials.",
        );
        let Self { issued, url } = self;
        let token = issued.secret.as_str();
        if url.starts_with("http://") {
            put(
                text,
                "boto3 sends a bearer token over https only: serve with listener.tls, or use a pair.",
            );
        }
        put(text, "\nClaude Code:\n");
        put(
            text,
            &format!(
                "  export CLAUDE_CODE_USE_BEDROCK=1 CLAUDE_CODE_SKIP_BEDROCK_AUTH=1 AWS_REGION=us-east-1\n  export ANTHROPIC_BEDROCK_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={token}"
            ),
        );
        put(text, "\nAnthropic Python:\n");
        put(
            text,
            &format!("  AnthropicBedrock(base_url=\"{url}\", api_key=\"{token}\")"),
        );
    }
}

fn put(text: &mut String, line: &str) {
    writeln!(text, "{line}").unwrap_or_default();
}

/// AWS SDKs and tools reference guide, "Service-specific endpoints".
const ENDPOINT_VERSIONS: &str = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME needs boto3 1.28, AWS CLI 1.29 or 2.13, or another SDK from\nlate 2023 on; older ones take the endpoint in code.";
const ALSO_S3: &str = "A key pair in the environment is used by every client of the process: S3 and other services\nwould get it too and refuse it. Where one process calls both, give the pair to this client alone:";
/// AWS user guide of Bedrock, "API keys"; botocore's changelog.
const BEARER_VERSIONS: &str =
    "AWS_BEARER_TOKEN_BEDROCK needs boto3 1.39 or another SDK from July 2025 on.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::registry::KeyId;

    fn issued(kind: KeyKind) -> Issued {
        Issued {
            id: KeyId::generate(kind).unwrap(),
            tenant: "acme".parse().unwrap(),
            secret: Secret::new("s3cret"),
            expires_at: None,
        }
    }

    #[test]
    fn a_pair_and_a_token_set_what_their_clients_read() {
        let url = "http://127.0.0.1:8080";
        let pair = issued(KeyKind::Pair);
        let env = Lines::new(&pair, url).env();
        let expected = format!(
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME={url}\nAWS_ACCESS_KEY_ID={}\n\
             AWS_SECRET_ACCESS_KEY=s3cret\n",
            pair.id
        );
        assert_eq!(env, expected);
        let token = issued(KeyKind::Token);
        let env = Lines::new(&token, url).env();
        assert!(env.ends_with("AWS_BEARER_TOKEN_BEDROCK=s3cret\n"), "{env}");
        assert!(Lines::new(&token, url).text().contains("https only"));
        let value: serde_json::Value =
            serde_json::from_str(&Lines::new(&token, url).json().unwrap()).unwrap();
        assert_eq!(value["token"], "s3cret");
        let secret = Lines::new(&pair, url).k8s_secret();
        assert!(
            secret.contains("  AWS_SECRET_ACCESS_KEY: \"s3cret\"\n"),
            "{secret}"
        );
    }
}
