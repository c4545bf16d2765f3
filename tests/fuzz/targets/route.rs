//! Paths: what is passed on is the end of what came, and no hop can read it as another path.

use bedrock_meter::domain::BasePath;
use bedrock_meter::routing::route;
use http::Method;
use percent_encoding::percent_decode_str;

pub(super) fn run(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    for method in [Method::GET, Method::POST] {
        let Ok(found) = route(&method, path) else {
            continue;
        };
        assert!(path.ends_with(found.upstream_path));
        assert!(found.upstream_path.starts_with('/'));
        assert!(
            found
                .upstream_path
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
        );
        let once = percent_decode_str(found.upstream_path)
            .decode_utf8()
            .unwrap();
        let twice = percent_decode_str(&once).decode_utf8_lossy();
        for text in [&once, &twice] {
            let names = text.split(['/', '\\']).map(|part| part.split(';').next());
            assert!(
                !names
                    .into_iter()
                    .any(|name| matches!(name, Some("." | ".."))),
                "{text}"
            );
        }
        assert!(!once.contains('\\') && !once.contains(char::is_control));
        if let Some(model) = &found.model_id {
            assert!((1..=2048).contains(&model.chars().count()));
        }
        let again = route(&method, found.upstream_path).unwrap();
        assert_eq!(again.operation, found.operation);
        assert_eq!(again.model_id, found.model_id);
        assert_eq!(
            again.base,
            BasePath::default(),
            "nothing of the base path is left"
        );
    }
}
