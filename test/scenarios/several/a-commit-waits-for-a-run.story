# The far replica is being brought up to date from production's working layers when the near one's failback is committed: the layers are merged when the run has read them.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
fail back web-near
switch web-near over
write web vda 0-60 more
link between production and far carries 64 KiB a second
begin run web-far
wait 10 s
commit the failback of web-near
until everything has settled
expect the last operation succeeded
run web-near
run web-far
