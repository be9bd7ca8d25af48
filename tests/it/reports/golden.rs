//! Every type in every format that is text, as it was read and found good: `INSTA_UPDATE=always` writes them anew, and
//! then they are to be read again. Workbooks and PDFs are read by programs of others among the proofs.

use graphgate::services::reports::build::build;
use graphgate::services::reports::model::Report;
use graphgate::services::reports::render::write;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::{Format, ReportRequest, sample};

fn report(kind: Kind, tasks: usize) -> Report {
    let plan = sample::plan(tasks, sample::today());
    let history = sample::history(&plan, sample::today());
    let request = ReportRequest {
        kind: Some(kind),
        from: Some("2026-11-19".into()),
        language: (kind == Kind::Workload).then(|| "de".into()),
        ..ReportRequest::default()
    };
    let options = request.understand(sample::now(), chrono_tz::Tz::Europe__Berlin).unwrap();
    build("01kb4x5t0m8q7w9z3c6v1n2p4r".into(), &options, &[plan], &[history])
}

#[test]
fn reports_are_what_was_read_and_found_good() {
    for kind in Kind::ALL {
        let report = report(kind, 10);
        for format in [Format::Json, Format::Markdown, Format::Html] {
            let text = String::from_utf8(write(&report, format).unwrap()).unwrap();
            insta::assert_snapshot!(format!("{}.{}", kind.word(), format.extension()), text);
        }
    }
    let text = String::from_utf8(write(&report(Kind::Weekly, 10), Format::Csv).unwrap()).unwrap();
    insta::assert_snapshot!("tasks.csv", text);
}

#[test]
fn the_same_report_is_written_the_same_every_time() {
    for format in [Format::Json, Format::Csv, Format::Markdown, Format::Html, Format::Xlsx] {
        let once = write(&report(Kind::Weekly, 40), format).unwrap();
        assert!(once == write(&report(Kind::Weekly, 40), format).unwrap(), "{format:?}");
    }
}

#[test]
fn nine_thousand_tasks_and_none_at_all_are_written_in_every_format() {
    for tasks in [0, 1, 9000] {
        for kind in [Kind::Weekly, Kind::BucketFlow] {
            let report = report(kind, tasks);
            for format in [Format::Csv, Format::Markdown, Format::Html] {
                assert!(!write(&report, format).unwrap().is_empty(), "{tasks} {format:?}");
            }
        }
    }
    assert!(write(&report(Kind::Weekly, 500), Format::Xlsx).unwrap().starts_with(b"PK"));
}
