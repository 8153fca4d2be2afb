# Production of a failback that is not decided yet is gone, the near replica takes over and becomes production for good. The failback of the far one is not undone beside it. That a duplicate was accepted when there was none says nothing of this one.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-far fencing by shutdown accepting the duplicate
fail back web-far
switch web-far over
shut down web
fail over web-near
make web-near permanent
undo the failback of web-far
expect the last operation failed with sibling-serves
expect web-far off
