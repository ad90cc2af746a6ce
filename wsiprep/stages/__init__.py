"""The stages: the only place that joins readers, plans, stores and reports. None loops over a cohort's pixels."""
