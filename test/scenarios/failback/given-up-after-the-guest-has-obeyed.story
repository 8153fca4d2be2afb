# The replica's guest misses the deadline of a switchover to a new VM, and obeys while a person thinks about it; meanwhile the source comes back. Whoever gives up then does not start the replica beside it, and the condition says that it does not serve.
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
shut down web-replica
production answers again
begin answer web: give-up
until everything has settled
expect web-replica off
expect the last operation suspended with started-beside-source
expect the log not to say serves on
expect web to be told web-replica could not be started again, so that it does not serve
shut down web on production
retry web
expect web-replica connected
expect web to be told The switchover failed and is taken back to web-replica
