//! Single stories of a task, step by step: the reports that Amazon's agent would make.
