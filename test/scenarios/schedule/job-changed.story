# A job is changed while it runs by the clock: the next runs are planned with the new RPO, retention takes what is not wanted any more at the end of the next run, and the replica at rest follows its new network. The history says what was changed, and nothing had to be deleted and made anew.
vm web on production

the scheduler runs
protect web from production to recovery: every 1 h, keep 5
wait 5 h
expect 5 points of web
change the job of web: every 30 min, keep 2, network network:default=
expect web to be definition-outdated
wait 1 h
expect 2 points of web
expect web to be not definition-outdated
fail over web fencing by power-off
expect web-replica running
expect web-replica disconnected
change the job of web: network network:default=network:default
expect web-replica disconnected
undo web
fail over web fencing by power-off
expect web-replica connected
