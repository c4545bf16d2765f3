//! Amazon Resource Names: taking one apart. Knows nothing of what a resource means.

/// The parts of an ARN: `arn:partition:service:region:account:resource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-us-gov`, `aws-cn`, `aws-eusc`, ...
    pub partition: &'a str,
    /// `bedrock`, `sagemaker`, ...
    pub service: &'a str,
    /// May be empty.
    pub region: &'a str,
    /// Empty for resources that AWS owns.
    pub account: &'a str,
    /// All that follows, colons and slashes included.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// The parts, or `None` for a text that is not an ARN of an AWS partition.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" {
            return None;
        }
        let partition = parts.next()?;
        if partition != "aws" && !partition.starts_with("aws-") {
            return None;
        }
        Some(Self {
            partition,
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_of_any_partition_comes_apart() {
        for partition in ["aws", "aws-us-gov", "aws-cn", "aws-iso-b", "aws-eusc"] {
            let text = format!("arn:{partition}:bedrock:eu-west-1:1234:prompt/ABC:1");
            let arn = Arn::parse(&text).unwrap();
            assert_eq!(arn.partition, partition);
            assert_eq!((arn.service, arn.region), ("bedrock", "eu-west-1"));
            assert_eq!((arn.account, arn.resource), ("1234", "prompt/ABC:1"));
        }
    }

    #[test]
    fn other_texts_are_no_arn() {
        for text in [
            "",
            "arn",
            "arn:aws:bedrock:us-east-1:1",
            "arn:azure:bedrock:us-east-1:1:model/x",
            "anthropic.claude-v2:1:18k",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
