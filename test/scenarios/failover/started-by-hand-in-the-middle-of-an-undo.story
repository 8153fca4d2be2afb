# The server dies when an undo has powered the replica off, and somebody starts it by hand before the server is back: the undo powers it off again, and what it wrote is kept with the branch.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fault at recovery.store.archiveBranch: crash-before
undo web
expect web-replica off
start web-replica
expect web-replica running
a controller starts
until everything has settled
expect the last operation succeeded
expect web-replica off
expect web in Ready
expect web on production running
