//! Makes a case small: whole objects first, then parts of what is left.
//!
//! Only parts go whose absence is as well defined as their presence; names, addresses and ages stay.

use serde_json::Value;

use super::Case;

/// Lists that may lose an item.
const LISTS: [&str; 9] = [
    "ports",
    "endpoints",
    "externalIPs",
    "ingress",
    "loadBalancerSourceRanges",
    "forZones",
    "forNodes",
    "cidrs",
    "nodePortAddresses",
];

/// Fields that may go.
const FIELDS: [&str; 18] = [
    "externalIPs",
    "loadBalancerSourceRanges",
    "sessionAffinity",
    "sessionAffinityConfig",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "status",
    "annotations",
    "nodePort",
    "targetPort",
    "conditions",
    "hints",
    "zone",
    "nodeName",
    "nodePortAddresses",
    "featureGates",
    "masqueradeAll",
    "ipMode",
];

impl Case {
    /// A smaller case of which `still` holds, without anything that is not needed for it.
    #[must_use]
    pub fn shrink(mut self, mut still: impl FnMut(&Self) -> bool) -> Self {
        self.drop_whole(&mut still, |case| &mut case.objects);
        self.drop_whole(&mut still, |case| &mut case.config);
        self.drop_parts(&mut still, |case| &mut case.objects);
        self.drop_parts(&mut still, |case| &mut case.config);
        self
    }

    fn drop_whole(
        &mut self,
        still: &mut impl FnMut(&Self) -> bool,
        documents: fn(&mut Self) -> &mut Vec<Value>,
    ) {
        let mut index = 0;
        while index < documents(self).len() {
            let mut smaller = self.clone();
            documents(&mut smaller).remove(index);
            if still(&smaller) {
                *self = smaller;
            } else {
                index += 1;
            }
        }
    }

    fn drop_parts(
        &mut self,
        still: &mut impl FnMut(&Self) -> bool,
        documents: fn(&mut Self) -> &mut Vec<Value>,
    ) {
        for index in 0..documents(self).len() {
            let mut place = 0;
            loop {
                let mut smaller = self.clone();
                if !drop_part(&mut documents(&mut smaller)[index], &mut place.clone()) {
                    break;
                }
                if still(&smaller) {
                    *self = smaller;
                } else {
                    place += 1;
                }
            }
        }
    }
}

/// Drops the part with the number `place`, in the order in which they are met; false if there are not so many.
fn drop_part(value: &mut Value, place: &mut usize) -> bool {
    let mut is_here = || {
        let here = *place == 0;
        *place = place.saturating_sub(1);
        here
    };
    let Value::Object(fields) = value else {
        return false;
    };
    let gone = fields
        .keys()
        .find(|key| FIELDS.contains(&key.as_str()) && is_here());
    if let Some(key) = gone.cloned() {
        fields.remove(&key);
        return true;
    }
    for (key, value) in fields.iter_mut() {
        if let Value::Array(items) = value
            && LISTS.contains(&key.as_str())
            && let Some(index) = (0..items.len()).find(|_| is_here())
        {
            items.remove(index);
            return true;
        }
    }
    let inner = fields.values_mut().flat_map(|value| match value {
        Value::Array(items) => items.iter_mut().collect(),
        other => vec![other],
    });
    inner.into_iter().any(|value| drop_part(value, place))
}
