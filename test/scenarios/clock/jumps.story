# The controller's wall clock jumps an hour back and then a day ahead: points keep their order, and no run is missed for long.
the scheduler runs
vm web on production

protect web from production to recovery: every 10 min
wait 12 min
the wall clock jumps back by 1 h
wait 15 min
the wall clock jumps ahead by 24 h
wait 15 min
expect web in Ready
expect web to be not rpo-breached
