"""The one campaign that both sides run: what triggers it and how its message reads."""

EVENT_TYPE = "order_placed"
VALUE_OVER = 100
ID = "thanks"

# Jinja2, the same source on both sides: a default, a condition, a loop and six values.
BODY = (
    '{"to":{{ profile.id | tojson }},"order":{{ event.properties.order | tojson }},'
    '"name":{{ profile.attributes.first_name | default("friend") | tojson }},'
    '"large":{% if event.properties.value > 500 %}true{% else %}false{% endif %},'
    '"value":{{ event.properties.value | tojson }},'
    '"currency":{{ event.properties.currency | tojson }},'
    '"lines":[{% for line in event.properties.lines %}'
    "{{ line | tojson }}{% if not loop.last %},{% endif %}{% endfor %}]}"
)

# Counted for every message on both sides and never met.
CAP_PER_DAY = 1_000
