//! What one call shall be. Every combination drawn here has a price in the price facts: rates
//! exist by model, region, geography, tier and cache class, and not for all of them.

use crate::simulator::draws::Draws;

/// Who calls: team, application, and whether the application is named by the SDK's application
/// id (in the user agent) instead of the base path.
const APPLICATIONS: [(&str, &str, bool); 12] = [
    ("search", "query-rewrite", false),
    ("search", "reranking", false),
    ("search", "index-enrichment", true),
    ("support", "chat", false),
    ("support", "triage", false),
    ("support", "summaries", true),
    ("legal", "contract-review", false),
    ("legal", "discovery", true),
    ("marketing", "copywriter", false),
    ("marketing", "translations", false),
    ("platform", "code-assistant", false),
    ("platform", "nightly-evaluation", true),
];

/// Where a call is sent, and the geographic prefix of profiles there.
const REGIONS: [(&str, &str); 2] = [("us-east-1", "us"), ("eu-central-1", "eu")];

/// What of a prompt cache a model can use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caching {
    Never,
    Read,
    ReadAndWrite,
}

/// Where a model has a rate for the priority tier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    Nowhere,
    UsEast1,
    Everywhere,
}

/// A model and what can be asked of it.
struct Model {
    id: &'static str,
    /// Prefixes besides the bare id: the region's own geography, and `global`.
    geographic: bool,
    global: bool,
    caching: Caching,
    priority: Priority,
    /// Prompts of this many tokens pass its context step.
    long_prompt: Option<u64>,
}

const fn profiled(id: &'static str, caching: Caching) -> Model {
    Model {
        id,
        geographic: true,
        global: true,
        caching,
        priority: Priority::Nowhere,
        long_prompt: None,
    }
}

const fn in_region(id: &'static str, priority: Priority) -> Model {
    Model {
        geographic: false,
        global: false,
        priority,
        ..profiled(id, Caching::Never)
    }
}

const MODELS: [Model; 10] = [
    profiled("anthropic.claude-opus-5-5", Caching::ReadAndWrite),
    profiled(
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        Caching::ReadAndWrite,
    ),
    Model {
        long_prompt: Some(120_000),
        ..profiled("anthropic.claude-haiku-5-5", Caching::ReadAndWrite)
    },
    Model {
        global: false,
        priority: Priority::Everywhere,
        ..profiled("amazon.nova-pro-v1:0", Caching::Read)
    },
    profiled("amazon.nova-2-lite-v1:0", Caching::Read),
    in_region("amazon.titan-text-express-v1", Priority::Nowhere),
    in_region("qwen.qwen3-32b-v1:0", Priority::UsEast1),
    in_region("openai.gpt-oss-120b-1:0", Priority::UsEast1),
    in_region("deepseek.v3-v1:0", Priority::UsEast1),
    in_region("zai.glm-4.7", Priority::UsEast1),
];

/// The operation to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Invoke,
    InvokeStream,
    Converse,
    ConverseStream,
}

/// What the client wants to see happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Read to the end.
    Complete,
    /// Leave in mid-stream.
    Abort,
    /// The answer is an error.
    Fault,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) team: &'static str,
    pub(super) application: &'static str,
    /// The application is named by the SDK's application id.
    pub(super) by_sdk: bool,
    pub(super) region: &'static str,
    pub(super) model_id: String,
    pub(super) shape: Shape,
    pub(super) priority: bool,
    pub(super) course: Course,
    /// The value of `x-simulate`.
    pub(super) script: String,
}

impl Plan {
    /// The call of that number.
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let mut draws = Draws::new(seed, number);
        let (team, application, by_sdk) = draws.pick(&APPLICATIONS);
        let (region, prefix) = draws.pick(&REGIONS);
        let model = draws.pick(&MODELS);
        let course = match draws.between(1, 100) {
            1..=5 => Course::Abort,
            6..=8 => Course::Fault,
            _ => Course::Complete,
        };
        let priority = model.may_be_priority(region) && draws.chance(30);
        Self {
            team,
            application,
            by_sdk: *by_sdk,
            region,
            model_id: model.asked(prefix, &mut draws),
            shape: draw_shape(course, &mut draws),
            priority,
            course,
            script: model.script(priority, course, &mut draws),
        }
    }
}

impl Model {
    /// The bare id or a profile of it.
    fn asked(&self, prefix: &str, draws: &mut Draws) -> String {
        let id = self.id;
        match draws.between(0, 2) {
            0 if self.geographic => format!("{prefix}.{id}"),
            1 if self.global => format!("global.{id}"),
            _ => id.to_owned(),
        }
    }

    fn may_be_priority(&self, region: &str) -> bool {
        match self.priority {
            Priority::Nowhere => false,
            Priority::UsEast1 => region == "us-east-1",
            Priority::Everywhere => true,
        }
    }

    fn script(&self, priority: bool, course: Course, draws: &mut Draws) -> String {
        let long = self.long_prompt.filter(|_| draws.chance(5));
        let input = long.unwrap_or_else(|| draws.between(20, 4000));
        let output = draws.between(5, 1200);
        let mut script = format!("input={input},output={output}");
        // Nova's priority rates know no cache in some regions.
        if !priority {
            self.add_cache(&mut script, draws);
        }
        script.push_str(match course {
            Course::Complete => "",
            Course::Abort => ",frames=80,frame-delay-ms=2",
            Course::Fault => draws.pick::<&str>(&FAULTS),
        });
        script
    }

    /// One of four classes: no cache, read, written for five minutes, written for an hour.
    fn add_cache(&self, script: &mut String, draws: &mut Draws) {
        let tokens = draws.between(1024, 16_000);
        let word = match (draws.between(0, 3), self.caching) {
            (1, Caching::Read | Caching::ReadAndWrite) => "cache-read",
            (2, Caching::ReadAndWrite) => "cache-write-5m",
            (3, Caching::ReadAndWrite) => "cache-write-1h",
            (_, Caching::Never | Caching::Read | Caching::ReadAndWrite) => return,
        };
        script.push_str(&[",", word, "=", &tokens.to_string()].concat());
    }
}

/// What goes wrong in a fault: two are retried by the SDK, one breaks a stream before its content.
const FAULTS: [&str; 3] = [",status=429", ",status=500", ",exception-after=1"];

/// Only a stream can be left in its middle.
fn draw_shape(course: Course, draws: &mut Draws) -> Shape {
    const STREAMS: [Shape; 2] = [Shape::InvokeStream, Shape::ConverseStream];
    const ALL: [Shape; 4] = [
        Shape::Invoke,
        Shape::InvokeStream,
        Shape::Converse,
        Shape::ConverseStream,
    ];
    match course {
        Course::Abort => *draws.pick(&STREAMS),
        Course::Complete | Course::Fault => *draws.pick(&ALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_mix_is_as_announced() {
        let plans: Vec<Plan> = (0..10_000).map(|number| Plan::draw(1, number)).collect();
        let distinct = |name: fn(&Plan) -> String| {
            let names: HashSet<String> = plans.iter().map(name).collect();
            names.len()
        };
        assert_eq!(distinct(|plan| plan.team.to_owned()), 5);
        assert_eq!(
            distinct(|plan| format!("{}/{}", plan.team, plan.application)),
            12
        );
        assert_eq!(distinct(|plan| plan.region.to_owned()), 2);
        assert_eq!(distinct(|plan| format!("{:?}", plan.shape)), 4);
        // 10 bare ids, 5 models with us. and eu. profiles, 4 of those with a global one.
        assert_eq!(distinct(|plan| plan.model_id.clone()), 10 + 2 * 5 + 4);
        let share = |course| plans.iter().filter(|plan| plan.course == course).count();
        assert!((400..600).contains(&share(Course::Abort)));
        assert!((200..400).contains(&share(Course::Fault)));
        for word in [
            "cache-read=",
            "cache-write-5m=",
            "cache-write-1h=",
            "input=120000",
        ] {
            assert!(
                plans.iter().any(|plan| plan.script.contains(word)),
                "{word}"
            );
        }
        assert!(plans.iter().any(|plan| plan.priority));
    }

    #[test]
    fn the_same_number_is_the_same_call() {
        let [one, other] = [1, 1].map(|seed| format!("{:?}", Plan::draw(seed, 42)));
        assert_eq!(one, other);
    }
}
