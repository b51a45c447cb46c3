//! The links in Markdown files: those to files and headings of the repository lead somewhere.

use std::fs;
use std::path::Path;

const FILES: [&str; 3] = ["README.md", ".github/CONTRIBUTING.md", "tests/peers/README.md"];

/// Returns the targets of the links, without code blocks.
fn links(markdown: &str) -> Vec<&str> {
    let prose = markdown.split("```").step_by(2);
    prose.flat_map(|text| text.split("](").skip(1)).map(|rest| rest.split(')').next().unwrap()).collect()
}

/// Returns the anchors that GitHub gives to the headings.
fn anchors(markdown: &str) -> Vec<String> {
    let headings =
        markdown.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for file in FILES {
        let text = fs::read_to_string(root.join(file)).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root.join(file) } else { root.join(file).parent().unwrap().join(path) };
            assert!(target.exists(), "{file}: {link}");
            if !anchor.is_empty() {
                assert!(
                    anchors(&fs::read_to_string(target).unwrap()).iter().any(|known| known == anchor),
                    "{file}: {link}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 4, "{checked} links");
}

#[test]
fn links_and_anchors_are_recognized() {
    assert_eq!(links("[a](b.md) ![c](d.png)\n```\n[no](no)\n```\n[e](#f)"), ["b.md", "d.png", "#f"]);
    assert_eq!(
        anchors("# In a build script\n\n## What it costs, in `ns`"),
        ["in-a-build-script", "what-it-costs-in-ns"]
    );
}
