# A switchover is planned for the night and the clock is set back by an hour: it happens once, when the clock says so, and replication goes on by itself after the commit.
the scheduler runs
vm web on production

protect web from production to recovery: every 15 min
wait 10 s
fail over web fencing by power-off
fail back web, switching over in 2 h
expect web in ReadyToSwitch
wait 1 h
the wall clock jumps back by 1 h
wait 90 min
expect web in ReadyToSwitch
wait 45 min
expect web in Failback
expect web on production running
commit the failback of web
wait 20 min
expect web in Ready
expect web to be not rpo-breached
