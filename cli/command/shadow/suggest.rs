//! `banyan shadow rules suggest`: rules that would explain confirmed mismatches.
//!
//! Owns the text that is pasted into a rules file. Must stay true: what is printed is a legal rules file, and says beside
//! each rule what it leaves and what it would also have hidden.

use crate::args::SuggestArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::{advice, control};
use banyan_diff::Suggestion;
use serde_json::json;

pub(crate) async fn run(
    config: &Config,
    args: &SuggestArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let now_ms = control::now_ms();
    let since = args.since.as_deref();
    let since_ms = since.map(|text| super::since(text, now_ms)).transpose()?;
    if let Some(name) = &args.endpoint {
        super::super::flip::endpoint(config, name)?;
    }
    let store = control::look(config).await?;
    let found = store.shadow_advice(since_ms).await.map_err(|e| control::store_failure(&e))?;
    let mut found = advice::suggestions(&found);
    found.retain(|(endpoint, _)| args.endpoint.as_ref().is_none_or(|wanted| wanted == endpoint));
    if output.is_json() {
        let data: Vec<_> = found
            .iter()
            .map(|(endpoint, suggestion)| json!({ "endpoint": endpoint, "suggestion": suggestion }))
            .collect();
        output.json("banyan.shadow.suggestions/1", &json!({ "suggestions": data }), &[]);
        return Ok(Exit::Yes);
    }
    if found.is_empty() {
        output.note("no rule explains a confirmed mismatch that was seen");
    }
    let tables: Vec<String> = found.iter().map(|(endpoint, s)| table(endpoint, s)).collect();
    output.line(tables.join("\n").trim_end());
    if !found.is_empty() {
        output.note("hint: read each rule, say in `reason` why it is harmless, and put it into banyan.toml as [[shadow.rule]]");
    }
    Ok(Exit::Yes)
}

fn table(endpoint: &str, suggestion: &Suggestion) -> String {
    let Suggestion { explains, of, residual, hides_breaking, .. } = suggestion;
    let head = format!(
        "# {endpoint}: explains {} of {}, residual {}, would also have hidden {} confirmed breaking\n",
        thousands(*explains),
        thousands(*of),
        thousands(*residual),
        thousands(*hides_breaking)
    );
    let causes = suggestion.causes.iter().map(|cause| {
        let (shape, kind, transition) = (&cause.shape, &cause.kind, &cause.transition);
        format!("# {shape}  {kind}  {transition}\n")
    });
    head + &causes.collect::<Vec<_>>().concat() + &suggestion.rule
}
