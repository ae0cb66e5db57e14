//! The table of `repot try` as a page that one can send to somebody: one file, no scripts, nothing loaded.

use super::{Outcome, Row, seconds, stop};
use repot_model::Facts;

const STYLE: &str = "
:root { color-scheme: light dark; --in: #1a7f37; --half: #9a6700; --out: #cf222e; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; } p.what { margin-top: 0; opacity: .8; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .45rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.number { white-space: nowrap; }
.tag { display: inline-block; padding: 0 .5rem; border-radius: 1rem; color: #fff; white-space: nowrap; }
.login { background: var(--in); } .prompt, .no-prompt { background: var(--half); } .failed { background: var(--out); } .unavailable { background: #6e7781; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .8rem; margin: .5rem 0; } summary { cursor: pointer; }
code { background: var(--soft); padding: 0 .25rem; border-radius: .2rem; overflow-wrap: anywhere; } .note { opacity: .8; font-size: .9em; }
";

/// The page.
pub(super) fn page(source: &str, facts: &Facts, rows: &[Row]) -> String {
    let init = facts.init.as_ref().map_or_else(
        || "no init".to_owned(),
        |init| match &init.version {
            Some(version) => format!("{} {version}", init.name),
            None => init.name.clone(),
        },
    );
    let tried: Vec<&Row> = rows
        .iter()
        .filter(|row| row.result != Outcome::Unavailable)
        .collect();
    let logged_in = tried
        .iter()
        .filter(|row| row.result == Outcome::Login)
        .count();
    let with_before = rows.iter().any(|row| row.before.is_some());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}: repot try</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n<p class=\"what\">{1}, from <code>{2}</code>. \
         Root logged in in {logged_in} of {3} container systems of this host.</p>\n<table>\n<tr><th>engine</th>{4}<th>result</th>\
         <th>to prompt</th><th>stop</th><th>edits</th></tr>\n",
        text(&facts.distribution.name),
        text(&init),
        text(source),
        tried.len(),
        if with_before {
            "<th>by itself</th>"
        } else {
            ""
        },
    );
    for row in rows {
        let before = if with_before {
            let cell = row.before.as_ref().map_or_else(
                || "-".to_owned(),
                |before| {
                    format!(
                        "{}<div class=\"note\"><code>{}</code></div>",
                        tag(before.result),
                        text(&before.command)
                    )
                },
            );
            format!("<td>{cell}</td>")
        } else {
            String::new()
        };
        let note = row.note.as_ref().map_or_else(String::new, |note| {
            format!("<div class=\"note\">{}</div>", text(note))
        });
        page.push_str(&format!(
            "<tr><td>{}<div class=\"note\">{}</div></td>{before}<td>{}{note}</td><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>\n",
            text(&row.engine),
            text(row.version.as_deref().unwrap_or("")),
            tag(row.result),
            seconds(row.seconds_to_prompt),
            stop(row.stop_clean),
            row.edits.len(),
        ));
    }
    page.push_str("</table>\n");
    for row in rows {
        page.push_str(&details(row));
    }
    page.push_str("</html>\n");
    page
}

/// What was found and edited for one engine.
fn details(row: &Row) -> String {
    if row.findings.is_empty() && row.edits.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>{}: {}, {}</summary>\n<ul>\n",
        text(&row.engine),
        count(row.findings.len(), "finding"),
        count(row.edits.len(), "edit")
    );
    for finding in &row.findings {
        out.push_str(&format!(
            "<li><b>{}</b> ({}, {}): {} <span class=\"note\">{}</span></li>\n",
            text(&finding.summary),
            text(&finding.rule.0),
            finding.severity,
            text(&finding.cause),
            finding.remedy
        ));
    }
    for edit in &row.edits {
        out.push_str(&format!(
            "<li><code>{}</code>: {}</li>\n",
            text(&edit.path),
            text(&edit.why)
        ));
    }
    out.push_str("</ul></details>\n");
    out
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

fn tag(outcome: Outcome) -> String {
    format!("<span class=\"tag {0}\">{0}</span>", outcome.text())
}

/// Text as HTML: names from a tree are hostile.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_tree_are_no_markup() {
        assert_eq!(
            text("<script>alert('&')</script>"),
            "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"
        );
    }
}
