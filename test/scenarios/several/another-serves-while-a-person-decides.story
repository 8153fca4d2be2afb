# The source of a planned failover does not shut down. While a person thinks about it somebody starts the other replica, which was failed over once: the source is not powered off for a replica that could not be connected.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-far fencing by power-off
shut down web-far on far
start web on production
guest of web on production ignores shutdown
begin fail over web-near as planned within 30 s, ask after that
wait 2 min
accept the duplicate of web on production
start web-far on far
begin answer web-near: power-off
until everything has settled
expect web on production running
expect the last operation failed with sibling-serves
shut down web on production
