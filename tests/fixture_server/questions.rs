//! Tools that need something from the client before they can answer: the call comes back with questions, and the
//! client repeats it with the answers and the ticket it was given.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, InputRequest, InputRequests,
    InputRequiredResult, InputResponses,
};
use serde_json::{Value, json};

use crate::seal::Seal;

/// A call with all that the client has answered so far.
pub struct Call<'a> {
    pub name: &'a str,
    pub answers: Option<&'a InputResponses>,
    pub ticket: Option<&'a str>,
    pub can: &'a ClientCapabilities,
    pub seal: &'a Seal,
}

impl Call<'_> {
    /// What the user filled in under `key`, if they accepted.
    pub fn form(&self, key: &str) -> Option<&Value> {
        let answer = self.answers?.get(key)?;
        answer.get("content").filter(|content| content.is_object() && answer["action"] == "accept")
    }

    fn answered(&self, key: &str) -> bool {
        self.answers.and_then(|answers| answers.get(key)).is_some_and(Value::is_object)
    }

    /// What the ticket says.
    ///
    /// # Errors
    /// When there is one and it is not the one that was given out.
    fn said(&self) -> Result<Option<String>, ErrorData> {
        let Some(ticket) = self.ticket else { return Ok(None) };
        match self.seal.read(self.name, ticket) {
            Some(text) => Ok(Some(text)),
            None => Err(ErrorData::invalid_params("the request state was changed on its way", None)),
        }
    }

    fn ask<const N: usize>(&self, questions: [(&str, Value); N], ticket: Option<&str>) -> Asked {
        let questions = questions.into_iter().map(|(key, question)| Ok((key.to_owned(), question_of(question)?)));
        let questions = questions.collect::<Result<InputRequests, ErrorData>>()?;
        let ticket = ticket.map(|text| self.seal.write(self.name, text));
        Ok(InputRequiredResult::new(Some(questions), ticket))
    }
}

type Asked = Result<InputRequiredResult, ErrorData>;

fn question_of(question: Value) -> Result<InputRequest, ErrorData> {
    serde_json::from_value(question).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// A form with one field.
///
/// # Errors
/// Never, unless the protocol's types change.
pub fn form(message: &str, field: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    question_of(form_of(message, field, kind))
}

fn form_of(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { field: { "type": kind } }, "required": [field] });
    json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": schema } })
}

fn sample_of(prompt: &str, max_tokens: u32) -> Value {
    let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
    json!({ "method": "sampling/createMessage", "params": { "messages": [message], "maxTokens": max_tokens } })
}

fn roots_of() -> Value {
    json!({ "method": "roots/list", "params": {} })
}

fn name_of() -> Value {
    form_of("What is your name?", "name", "string")
}

#[allow(clippy::unnecessary_wraps)] // the type of what the tools below return
fn done(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
}

/// The question before `prompts/get` can answer; `None` once it is answered.
///
/// # Errors
/// Never, unless the protocol's types change.
pub fn before_prompt(call: &Call<'_>) -> Result<Option<InputRequiredResult>, ErrorData> {
    if call.form("user_context").is_some() {
        return Ok(None);
    }
    let question = form_of("What context should the prompt use?", "context", "string");
    call.ask([("user_context", question)], None).map(Some)
}

/// The question before `test_tool_with_task` starts its job.
///
/// # Errors
/// Never, unless the protocol's types change.
pub fn before_job(call: &Call<'_>) -> Asked {
    call.ask([("user_name", name_of())], Some("asked"))
}

/// Answers a tool of this file; `None` when it is none.
pub fn of_tool(call: &Call<'_>) -> Option<Result<CallToolResponse, ErrorData>> {
    let tool = match call.name {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => greet,
        "test_input_required_result_sampling" => sample,
        "test_input_required_result_list_roots" => roots,
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => confirm,
        "test_input_required_result_multiple_inputs" => everything,
        "test_input_required_result_multi_round" => rounds,
        "test_input_required_result_capabilities" => what_you_can,
        "test_missing_capability" => demand_sampling,
        _ => return None,
    };
    Some(tool(call))
}

fn greet(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    match call.form("user_name") {
        Some(form) => done(format!("Hello, {}!", form["name"].as_str().unwrap_or("stranger"))),
        None => Ok(call.ask([("user_name", name_of())], None)?.into()),
    }
}

fn sample(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    if call.answered("capital_question") {
        return done("the model has answered");
    }
    Ok(call.ask([("capital_question", sample_of("What is the capital of France?", 100))], None)?.into())
}

fn roots(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    match call.answers.and_then(|answers| answers.get("client_roots")) {
        Some(answer) if answer["roots"].is_array() => done(format!("the client's roots: {}", answer["roots"])),
        _ => Ok(call.ask([("client_roots", roots_of())], None)?.into()),
    }
}

fn confirm(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    match (call.said()?, call.form("confirm")) {
        (Some(_), Some(_)) => done("state-ok: the request state came back as it was given"),
        _ => Ok(call.ask([("confirm", form_of("Please confirm", "ok", "boolean"))], Some("confirm"))?.into()),
    }
}

fn everything(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    if call.said()?.is_some() && ["user_name", "greeting", "client_roots"].iter().all(|key| call.answered(key)) {
        return done("all three questions are answered");
    }
    let questions =
        [("user_name", name_of()), ("greeting", sample_of("Generate a greeting", 50)), ("client_roots", roots_of())];
    Ok(call.ask(questions, Some("asked"))?.into())
}

fn rounds(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    let said = call.said()?;
    let name = said.as_deref().and_then(|said| said.strip_prefix("name "));
    if let (Some(name), Some(form)) = (name, call.form("step2")) {
        return done(format!("{name} likes {}", form["color"].as_str().unwrap_or("no colour")));
    }
    if let (Some("start"), Some(form)) = (said.as_deref(), call.form("step1")) {
        let ticket = format!("name {}", form["name"].as_str().unwrap_or("somebody"));
        let question = form_of("Step 2: What is your favorite color?", "color", "string");
        return Ok(call.ask([("step2", question)], Some(&ticket))?.into());
    }
    let question = form_of("Step 1: What is your name?", "name", "string");
    Ok(call.ask([("step1", question)], Some("start"))?.into())
}

fn what_you_can(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    if ["name", "sample"].iter().any(|key| call.answered(key)) {
        return done("answered with what the client can");
    }
    let asked = if call.can.sampling.is_some() {
        call.ask([("sample", sample_of("Say anything", 20))], None)
    } else if call.can.elicitation.is_some() {
        call.ask([("name", name_of())], None)
    } else {
        return done("the client can be asked nothing");
    };
    Ok(asked?.into())
}

fn demand_sampling(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    if call.can.sampling.is_some() {
        return done("the client can sample");
    }
    let needed = ClientCapabilities::builder().enable_sampling().build();
    Err(ErrorData::missing_required_client_capability(needed))
}
