# The way back of a failed failover goes on beside another replica while the source's host is away: that the source may be left off is told, and as soon as it is seen to serve again, withdrawn.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fault at far.store.createBranch 5 times: fail
fault at production.hypervisor.start 5 times: fail
fail over web-far fencing by power-off
expect the last operation suspended
fail over web-near
production stops answering
retry web-far
expect the log to say web may be left off, as web-near
expect web-far to be source-left-fenced
undo web-near
the sources are looked at
expect web-far to be source-left-fenced
production answers again
start web on production
the sources are looked at
expect web-far to be not source-left-fenced
