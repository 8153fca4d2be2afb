# Three points are tested at once in networks of their own while replication goes on: the host boots two at a time, the source and its runs notice nothing, and nothing is left.
the scheduler runs
vm web on production

protect web from production to recovery: every 10 min
wait 20 min
begin test web at P1, P2, P3 with agent, http:80 for 10 min
wait 15 min
expect web on production running
expect web on production connected
expect web to be not rpo-breached
wait 15 min
expect web in Ready
