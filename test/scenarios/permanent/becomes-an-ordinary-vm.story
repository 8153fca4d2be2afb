# The replica becomes an ordinary VM while it serves: its ledger goes on, the points go, and the source is excluded from its job for good.
vm web on production: ledger every 10 s

protect web from production to recovery
wait 2 min
run web
fail over web fencing by power-off
wait 1 min
make web permanent
expect web in Permanent
wait 1 min
run web
expect the log to say vm-excluded
