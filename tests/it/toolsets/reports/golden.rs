//! Every type in every format that is text, as it was read and found good: `INSTA_UPDATE=always` writes them again, and
//! then they are to be read again. Workbooks and PDFs are read by programs of others among the proofs.

use graphgate::services::planner::facts::PlanFacts;
use graphgate::services::reports::build::build;
use graphgate::services::reports::model::Report;
use graphgate::services::reports::render::write;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::{Format, ReportRequest, sample};

fn report(kind: Kind, tasks: usize) -> Report {
    of(kind, sample::plan(tasks, sample::today()), (kind == Kind::Workload).then(|| "de".into()))
}

fn of(kind: Kind, plan: PlanFacts, language: Option<String>) -> Report {
    let history = sample::history(&plan, sample::today());
    let request =
        ReportRequest { kind: Some(kind), from: Some("2026-11-19".into()), language, ..ReportRequest::default() };
    let options = request.understand(sample::now(), chrono_tz::Tz::Europe__Berlin).unwrap();
    build("01kb4x5t0m8q7w9z3c6v1n2p4r".into(), &options, &[plan], &[history])
}

#[test]
fn every_report_type_matches_its_snapshot() {
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
fn report_rendering_is_deterministic() {
    for format in [Format::Json, Format::Csv, Format::Markdown, Format::Html, Format::Xlsx] {
        let once = write(&report(Kind::Weekly, 40), format).unwrap();
        assert!(once == write(&report(Kind::Weekly, 40), format).unwrap(), "{format:?}");
    }
}

/// Plans at the edge of what a page can show.
fn extremes() -> Vec<(&'static str, Kind, PlanFacts)> {
    let plan = |tasks| sample::plan(tasks, sample::today());
    let mut long = plan(60);
    for (n, task) in long.tasks.iter_mut().enumerate() {
        task.title = format!(
            "{} {}",
            "A title without an end".repeat(1 + n % 12),
            "Donaudampfschifffahrtsgesellschaft".repeat(3)
        );
    }
    long.title = "Everything that has to be done before the company’s fiftieth anniversary, in all countries".into();
    long.buckets[1] = "Waiting for somebody else’s decision, which nobody expects before Christmas".into();
    let mut crowd = plan(200);
    for (n, task) in crowd.tasks.iter_mut().enumerate() {
        task.assignees = (0..=n % 4).map(|nth| format!("Colleague {:02}", (n * 7 + nth * 11) % 40 + 1)).collect();
    }
    crowd.tasks[0].assignees = (1..=40).map(|nth| format!("Colleague {nth:02}")).collect();
    let mut foreign = plan(60);
    for (n, task) in foreign.tasks.iter_mut().enumerate() {
        let words = [
            "ترجمة صفحة الاتصال",
            "採用ページを翻訳する",
            "בדיקת דף התשלום",
            "고객 문의 양식 검토",
            "Проверить корзину",
            "Έλεγχος σελίδας",
        ];
        task.title = words[n % words.len()].into();
        task.assignees = vec![["محمد الفاسي", "山田 花子", "נועה לוי", "김지우"][n % 4].to_owned()];
    }
    foreign.title = "موقع الشركة 日本語".into();
    vec![
        ("empty", Kind::Weekly, plan(0)),
        ("one", Kind::Weekly, plan(1)),
        ("nine_thousand", Kind::Weekly, plan(9000)),
        ("long", Kind::Weekly, long),
        ("crowd", Kind::Workload, crowd),
        ("foreign", Kind::Weekly, foreign),
    ]
}

/// `REPORT_FILES` names a folder that gets them, for the proofs to set, read and compare.
#[test]
fn empty_and_nine_thousand_task_reports_render_in_every_format() {
    let folder = std::env::var_os("REPORT_FILES").map(std::path::PathBuf::from);
    for (name, kind, plan) in extremes() {
        let report = of(kind, plan, None);
        for format in [Format::Json, Format::Csv, Format::Markdown, Format::Html] {
            let content = write(&report, format).unwrap();
            assert!(!content.is_empty(), "{name} {format:?}");
            if let Some(folder) = folder.as_ref().filter(|_| matches!(format, Format::Json | Format::Html)) {
                std::fs::write(folder.join(format!("extreme_{name}.{}", format.extension())), content).unwrap();
            }
        }
    }
    assert!(write(&report(Kind::Weekly, 500), Format::Xlsx).unwrap().starts_with(b"PK"));
}
