# Two planned failovers wait for a person, because the guests do not shut down, and with them all transfers that their hosts allow would be taken, for up to an hour. The runs of the others go on meanwhile; whoever is answered goes on at once, beside a run that has its place by then, also after the controller was killed.
vm web on production
vm mail on production
vm shop on production: ledger every 1 s

protect web, mail, shop from production to recovery
run web
run mail
run shop
guest of web ignores shutdown
guest of mail ignores shutdown
begin fail over web as planned within 30 s, ask after that
begin fail over mail as planned within 30 s, ask after that
wait 2 min
run shop
expect 2 points of shop
the controller is killed
a controller starts
wait 1 min
run shop
expect 3 points of shop
answer web: power-off
answer mail: give-up
until everything has settled
expect web in Failover
expect web-replica running
expect mail in Ready
expect mail on production running
run shop
