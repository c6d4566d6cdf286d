select
    '{{ variables(var("names")) | replace("'", "''") }}' as variables,
    '{{ file("/proc/self/environ") | replace("'", "''") }}' as own_process
