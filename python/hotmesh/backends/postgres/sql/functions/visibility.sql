-- Whether a JSON text equals a JSON value, or is a list that has it as an element. Of a text that is
-- no JSON, or has what jsonb can't hold, nothing is said: it equals nothing.
create or replace function hotmesh.holds(value bytea, wanted jsonb)
returns boolean language plpgsql immutable as $$
declare
    stored jsonb;
begin
    stored := convert_from(value, 'UTF8')::jsonb;
    return stored = wanted
        or (
            jsonb_typeof(stored) = 'array'
            and jsonb_typeof(wanted) not in ('array', 'object')
            and stored @> wanted
        );
exception when data_exception then
    return false;
end $$;
