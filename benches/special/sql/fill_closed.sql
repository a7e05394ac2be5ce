-- Closed runs as the engine leaves them, copied from one that it has run; so many of them.
create temporary table pattern as
select run.*, current.namespace
from hotmesh.run join hotmesh.current using (run_id) where closed_ms > 0 order by run_id limit 1;

create temporary table filled (n bigint, run_id bytea, workflow_id text);

insert into filled
select n, decode(lpad(to_hex(n), 32, '0'), 'hex') as run_id, 'filled-' || n as workflow_id
from generate_series(1, $1::bigint) as n;

insert into hotmesh.run
    (started_ms, lane, expire_s, run_id, workflow_id, workflow_type, header, input,
     status, closed_ms, result)
select p.started_ms, p.lane - p.lane % 64 + (f.n % 64)::int, p.expire_s, f.run_id, f.workflow_id,
       p.workflow_type, p.header, p.input, p.status, p.closed_ms, p.result
from filled as f cross join pattern as p;

insert into hotmesh.current (run_id, namespace, workflow_id)
select f.run_id, p.namespace, f.workflow_id from filled as f cross join pattern as p;

insert into hotmesh.journal (seq, run_id, frame)
select j.seq, f.run_id, j.frame
from pattern as p join hotmesh.journal as j using (run_id) cross join filled as f;

vacuum analyze hotmesh.run;
vacuum analyze hotmesh.current;
vacuum analyze hotmesh.journal;
