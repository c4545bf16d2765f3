//! Model ids and ARNs: what is named was asked for, and nothing is made up.

use bedrock_meter::aws::parse_model_ref;

pub(super) fn run(data: &[u8]) {
    let Ok(asked) = std::str::from_utf8(data) else {
        return;
    };
    let model = parse_model_ref(asked);
    assert_eq!(&*model.asked, asked);
    if let Some(base) = &model.base {
        assert!(asked.contains(&**base), "{base} of {asked}");
        let (provider, name) = base.split_once('.').unwrap();
        assert!(!provider.is_empty() && !name.is_empty() && !base.contains('/'));
    }
    assert!(!model.label().to_string().is_empty() || asked.is_empty());
}
