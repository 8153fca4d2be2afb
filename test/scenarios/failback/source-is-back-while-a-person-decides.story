# Production is lost, and its replica goes on to a new VM elsewhere, but its guest does not shut down. While a person thinks about it the source comes back: the replica is not powered off for a VM that could not start beside the source.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
production stops answering
fail over web
fail back web to a new VM web-2 on spare
guest of web-replica ignores shutdown
begin switch web over, ask if it refuses
wait 2 min
production answers again
begin answer web: power-off
until everything has settled
expect the last operation failed with source-serves
expect web-replica running
shut down web on production
begin switch web over, power-off if it refuses
until everything has settled
expect web-2 connected
