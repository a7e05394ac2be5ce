-- Start runs. Answers {started, run id, status} of each.
return start_runs(h.starts)
