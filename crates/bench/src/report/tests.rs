//! The page for results that were made up.

use super::*;
use crate::comparisons::{Budget, Contender, Good, Plot};
use crate::load::Figures;
use crate::machine::Machine;
use crate::results::Measured;
use crate::targets::Setup;
use crate::work::{Scale, Work, publishing};

fn comparison() -> Comparison {
    let work = Work::Closed(publishing(Scale::Full, 1, 2, 100));
    let contender = |label: &str, x| Contender {
        x: Some(x),
        ..Contender::new(label, Setup::CORGI, work.clone())
    };
    let rate = "delivered_per_s";
    Comparison {
        name: "made-up".to_owned(),
        title: "Made up".to_owned(),
        contenders: vec![
            contender("Corgi", 1),
            contender("Redis", 1),
            contender("Valkey", 1),
        ],
        budgets: vec![
            Budget::new(rate, 0, &[1, 2], Good::High, (1.0, 1.5)),
            Budget::new("ack_p50_us", 0, &[1, 2], Good::Low, (0.7, 0.4)),
            Budget::told("none_us", 0, &[1], Good::Low),
        ],
        plot: Some(Plot {
            x: "things",
            measures: &["delivered_per_s"],
        }),
    }
}

fn results() -> Results {
    let round = |rate: f64, p50: f64| {
        Figures::from([
            ("delivered_per_s".to_owned(), rate),
            ("ack_p50_us".to_owned(), p50),
        ])
    };
    let measured = |label: &str, rounds: Vec<Figures>| Measured {
        label: label.to_owned(),
        x: Some(1),
        version: format!("{label} 1.0"),
        command: format!("{label}-server --port PORT"),
        work: "PUBLISH".to_owned(),
        missing: None,
        rounds,
    };
    let mut valkey = measured("Valkey", Vec::new());
    valkey.missing = Some("Valkey is missing: no valkey-server".to_owned());
    Results {
        name: "made-up".to_owned(),
        date: "2026-11-25".to_owned(),
        commit: "abcdef".to_owned(),
        quick: false,
        machine: Machine {
            processor: "A".to_owned(),
            cores: 2,
            memory_gib: 8.0,
            kernel: "6.1".to_owned(),
            load: 0.1,
            fdatasync_us: 150.0,
        },
        contenders: vec![
            measured("Corgi", vec![round(1200.0, 90.0), round(1000.0, 110.0)]),
            measured("Redis", vec![round(1000.0, 100.0), round(1000.0, 100.0)]),
            valkey,
        ],
    }
}

#[test]
fn the_page_is_as_expected() {
    let comparison = comparison();
    let other = Comparison {
        name: "not-run".to_owned(),
        ..comparison.clone()
    };
    let drawn = [("made-up".to_owned(), "delivered_per_s", "a.svg".to_owned())];
    let page = page(
        &[comparison.clone(), other],
        &[(&comparison, results())],
        &drawn,
    );
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/golden.md");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(golden, &page).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(golden).expect("the golden file is there");
    assert_eq!(page, expected);
}

#[test]
fn a_plot_has_a_line_for_each_who_was_measured() {
    let comparison = comparison();
    let plot = comparison.plot.expect("it has one");
    let svg = plots::draw(&comparison, &plot, "delivered_per_s", &results()).expect("drawn");
    assert!(svg.starts_with("<svg"));
    assert!(svg.contains("Corgi") && svg.contains("Redis") && !svg.contains("Valkey"));
}
