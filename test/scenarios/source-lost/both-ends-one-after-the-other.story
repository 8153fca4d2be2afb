# First the source is lost and the replica takes over; then the target loses power, too. Its branch is on disk: started again, it goes on with its ledger.
vm web on production: ledger every 10 s

protect web from production to recovery
wait 5 min
run web
power loss at production
fail over web
wait 5 min
power loss at recovery
start web-replica on recovery
wait 5 min
expect web-replica running
expect web in Failover
this may stay open because nobody has decided yet
