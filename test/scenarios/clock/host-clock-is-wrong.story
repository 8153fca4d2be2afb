# The source host believes it is yesterday: its points carry its own time, keep their order, and no run is started in a hurry because of it.
the scheduler runs
vm web on production

the clock of production is 26 h behind
protect web from production to recovery: every 1 h
wait 3 h
expect the log not to say failed
