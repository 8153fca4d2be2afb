# The controller dies when the layers are merged and the points are not yet gone: the rest is done by its successor, the VM never notices.
vm web on production: ledger every 10 s

protect web from production to recovery
run web
fail over web fencing by power-off
fault at recovery.store.promoteBranch: crash-before
make web permanent
a controller starts
until everything has settled
expect web in Permanent
expect web-replica running
