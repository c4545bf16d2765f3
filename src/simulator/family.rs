//! Which wire shape a model id answers in.

/// A family of models with one native body shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic Messages.
    Claude,
    /// Amazon Nova, close to Converse.
    Nova,
    /// Amazon Titan Text.
    TitanText,
    /// Meta Llama.
    Llama,
    /// Chat Completions, as most other providers answer.
    OpenAi,
}

/// Prefixes of inference profile ids.
const GEOGRAPHIES: [&str; 10] = [
    "us", "eu", "apac", "jp", "au", "ca", "in", "sa", "us-gov", "global",
];

/// Providers whose models answer as Chat Completions.
const OPENAI_SHAPED: [&str; 12] = [
    "qwen",
    "openai",
    "deepseek",
    "mistral",
    "minimax",
    "moonshot",
    "moonshotai",
    "zai",
    "nvidia",
    "google",
    "writer",
    "xai",
];

impl Family {
    /// The family of a decoded model id or ARN; `None` when no such model exists. An ARN that
    /// does not name its model (an application inference profile) stands for a Claude.
    pub(super) fn of(model_id: &str) -> Option<Self> {
        if model_id.starts_with("arn:") {
            let (_, resource) = model_id.rsplit_once('/')?;
            return Some(Self::of_id(resource).unwrap_or(Self::Claude));
        }
        Self::of_id(model_id)
    }

    fn of_id(id: &str) -> Option<Self> {
        let (first, rest) = id.split_once('.')?;
        if GEOGRAPHIES.contains(&first) {
            return Self::of_id(rest);
        }
        match first {
            "anthropic" => Some(Self::Claude),
            "meta" => Some(Self::Llama),
            "amazon" if rest.starts_with("nova-") => Some(Self::Nova),
            "amazon" if rest.starts_with("titan-text") => Some(Self::TitanText),
            "deepseek" if rest.starts_with("r1") => None,
            provider if OPENAI_SHAPED.contains(&provider) => Some(Self::OpenAi),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_model_finds_its_family() {
        let rows = [
            (
                "anthropic.claude-3-5-sonnet-20241022-v2:0",
                Some(Family::Claude),
            ),
            ("us.anthropic.claude-opus-5-5", Some(Family::Claude)),
            ("us-gov.anthropic.claude-opus-5-5", Some(Family::Claude)),
            (
                "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
                Some(Family::Claude),
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0",
                Some(Family::Nova),
            ),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-express-v1",
                Some(Family::TitanText),
            ),
            ("meta.llama3-1-8b-instruct-v1:0", Some(Family::Llama)),
            ("deepseek.v3.2", Some(Family::OpenAi)),
            ("zai.glm-5.3", Some(Family::OpenAi)),
            ("global.moonshotai.kimi-k3", Some(Family::OpenAi)),
            ("nobody.model-1", None),
            ("claude", None),
        ];
        for (id, family) in rows {
            assert_eq!(Family::of(id), family, "{id}");
        }
    }
}
