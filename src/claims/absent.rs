//! The claims about whole networks that the zoo does not have yet: named, and never passed.

use super::Context;
use super::row::Row;
use crate::Result;

const CSPNET: &str = "Wang et al. 2019 (CSPNet)";
const SURVEY: &str = "Wang et al. 2022";

/// A row without numbers.
fn absent(
    context: &Context<'_>,
    id: &'static str,
    claim: &str,
    source: &'static str,
    told: &str,
    needs: &str,
) -> Row {
    let mut row = Row::new(id, claim, source, told);
    row.device = context.counted.to_string();
    row.why = format!("needs {needs}: not in the zoo yet, so nothing was checked");
    row
}

/// C6 and C7: of CSPNet's networks.
pub(super) fn cspnet(context: &mut Context<'_>) -> Result<Vec<Row>> {
    Ok(vec![
        absent(
            context,
            "C6",
            "For a whole network CSP saves far less traffic than computation",
            CSPNET,
            "CIO 32.6 M against 34.4 M, computation −22 %",
            "CSPResNeXt-50 and ResNeXt-50",
        ),
        absent(
            context,
            "C7",
            "CSP about halves the computation of the largest layer",
            CSPNET,
            "about half for Res, ResX and Dense",
            "the networks that the paper compares, with and without CSP",
        ),
    ])
}

/// C9 to C12: of the YOLO networks and Darknet-53.
pub(super) fn networks(context: &mut Context<'_>) -> Result<Vec<Row>> {
    Ok(vec![
        absent(
            context,
            "C9",
            "YOLOR-CSP has less computation than YOLOR-v3",
            SURVEY,
            "−22 %; YOLOR-CSP 52.9 M parameters, 120.4 GFLOPs",
            "YOLOR-v3 and YOLOR-CSP",
        ),
        absent(
            context,
            "C10",
            "YOLOR-ELAN has less computation than YOLOR-v3",
            SURVEY,
            "−35 %, stacked 2,1s −26 %; YOLOv7 36.9 M, 104.7 GFLOPs",
            "YOLOR-v3, YOLOR-ELAN and YOLOv7",
        ),
        absent(
            context,
            "C11",
            "YOLOv3-tiny-PRN needs less than YOLOv3-tiny",
            "Wang et al. 2019 (PRN)",
            "5.571 → 3.467 BFLOPs, 8.86 → 4.95 M parameters, at 416",
            "YOLOv3-tiny and YOLOv3-tiny-PRN",
        ),
        absent(
            context,
            "C12",
            "CSPDarknet-53 needs less than Darknet-53",
            "Wang et al. 2019 (CSPNet's repository)",
            "parameters −34 %, BFLOPs −30 %, at 256",
            "Darknet-53 and CSPDarknet-53",
        ),
    ])
}
