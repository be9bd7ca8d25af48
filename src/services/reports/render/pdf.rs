//! The report for paper.
